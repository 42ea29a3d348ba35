"""Verdicts of a run, and their comparison with those of PostgreSQL itself and with the committed list of differences."""

import dataclasses
import json

UNSTABLE = "unstable"
MISSING = "missing"


@dataclasses.dataclass
class Run:
    """What one run of a suite said: verdicts and messages by test, and how long it took."""

    verdicts: dict
    messages: dict
    seconds: float

    @classmethod
    def from_lines(cls, path, seconds):
        """Reads the lines that the pytest plugin or a session wrote."""
        verdicts, messages = {}, {}
        for line in path.read_text(encoding="utf-8").splitlines():
            entry = json.loads(line)
            verdicts[entry["id"]] = entry["verdict"]
            messages[entry["id"]] = entry["message"]
        return cls(verdicts, messages, seconds)

    def save(self, path):
        """Writes `verdict<TAB>test` lines, sorted by test."""
        path.write_text("".join(f"{verdict}\t{test}\n" for test, verdict in sorted(self.verdicts.items())), encoding="utf-8")

    def counts(self):
        """How many tests got which verdict."""
        totals = {}
        for verdict in self.verdicts.values():
            totals[verdict] = totals.get(verdict, 0) + 1
        return totals


@dataclasses.dataclass(frozen=True)
class Difference:
    """A test whose verdict through the address under test is not the one of PostgreSQL direct."""

    test: str
    direct: str
    via: str
    message: str = dataclasses.field(default="", compare=False)


class Expected:
    """The committed list: `test<TAB>verdict direct<TAB>verdict via the proxy<TAB>reason`.

    The word `unstable` in both columns names a test that differs between two runs on PostgreSQL itself.
    """

    def __init__(self, path):
        self.entries = {}
        if not path.exists():
            return
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            if not line.strip() or line.startswith("#"):
                continue
            fields = line.split("\t")
            if len(fields) != 4 or not fields[3].strip():
                raise SystemExit(f"{path}:{number}: a line is test, verdict direct, verdict via the proxy, reason, separated by tabs")
            self.entries[fields[0]] = (fields[1], fields[2], fields[3])

    def explains(self, difference):
        """Whether the list has this test with these verdicts, or as unstable."""
        entry = self.entries.get(difference.test)
        return entry is not None and (entry[:2] == (difference.direct, difference.via) or entry[0] == UNSTABLE)

    def unused(self, differences, seen):
        """Entries that did not show although their test ran: the list is to be shortened. Unstable ones may show or not."""
        shown = {difference.test for difference in differences}
        return sorted(test for test, entry in self.entries.items() if entry[0] != UNSTABLE and test in seen and test not in shown)


def differences(direct, via):
    """Every test whose verdicts are not equal, and every test that only one of the runs had."""
    found = []
    for test in sorted(direct.verdicts.keys() | via.verdicts.keys()):
        one, other = direct.verdicts.get(test, MISSING), via.verdicts.get(test, MISSING)
        if one != other:
            found.append(Difference(test, one, other, via.messages.get(test) or direct.messages.get(test, "")))
    return found
