//! Makes a failing run smaller: delta debugging over the schedule of faults.

use crate::plan::{Plan, Planned, Scenario};

/// The fewest faults found with which `fails` still holds, as a scenario. `fails` must hold for `plan` itself.
///
/// Follows Zeller's ddmin: ever smaller parts are left out, as long as the run still fails.
pub fn shrink(plan: &Plan, fails: impl Fn(Plan) -> bool) -> Scenario {
    let mut faults = plan.faults.clone();
    let mut parts = 2;
    while !faults.is_empty() {
        let length = faults.len().div_ceil(parts);
        let rest = (0..faults.len()).step_by(length).find_map(|start| {
            let end = (start + length).min(faults.len());
            let rest: Vec<Planned> = [&faults[..start], &faults[end..]].concat();
            fails(plan.with_faults(rest.clone())).then_some(rest)
        });
        match rest {
            Some(rest) => {
                faults = rest;
                parts = (parts - 1).max(2);
            }
            None if length == 1 => break,
            None => parts = (2 * parts).min(faults.len()),
        }
    }
    Scenario { seed: plan.seed, topology: plan.topology, faults }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Fault, Topology};

    #[test]
    fn only_the_faults_that_matter_are_left() {
        let faults: Vec<Planned> =
            (0..40).map(|at_us| Planned { at_us, fault: Fault::Cut { pick: at_us as u32 } }).collect();
        let plan = Plan::swarm(1, Topology::Direct).with_faults(faults);
        let needs = [3, 17, 18];
        let fails = |plan: Plan| needs.iter().all(|at| plan.faults.iter().any(|planned| planned.at_us == *at));
        let left: Vec<u64> = shrink(&plan, fails).faults.iter().map(|planned| planned.at_us).collect();
        assert_eq!(left, needs);
    }

    #[test]
    fn a_failure_without_faults_shrinks_to_none() {
        let plan = Plan::swarm(3, Topology::Proxy);
        assert_eq!(shrink(&plan, |_| true).faults, []);
    }
}
