//! Which instance a cgroup belongs to.

use std::collections::HashMap;
use std::time::Duration;

use super::Members;
use crate::model::{Mono, UnitName};

/// The instances are taken anew at most this often, when a sender is in none of them.
const SOONEST: Duration = Duration::from_secs(1);
/// And this often in any case: those that are gone are forgotten.
const LATEST: Duration = Duration::from_secs(10);

/// The instances that are up, by their cgroups.
pub struct Groups {
    members: Members,
    by_group: HashMap<String, UnitName>,
    taken: Option<Mono>,
    generation: u64,
}

impl Groups {
    pub fn new(members: Members) -> Self {
        Self { members, by_group: HashMap::new(), taken: None, generation: 0 }
    }

    /// Grows whenever the instances were taken anew: what was found before may be found no more.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The instance whose cgroup this is, or is below: subgroups that it made for itself belong to it. The deepest one
    /// where instances are within each other. Who is not known is looked for among those who have come up since.
    pub fn find(&mut self, group: &str, now: Mono) -> Option<UnitName> {
        self.lookup(group).or_else(|| if self.renew(now, SOONEST) { self.lookup(group) } else { None })
    }

    /// Forgets those that are gone. True when the instances were taken anew.
    pub fn keep_fresh(&mut self, now: Mono) -> bool {
        self.renew(now, LATEST)
    }

    fn renew(&mut self, now: Mono, pause: Duration) -> bool {
        if self.taken.is_some_and(|taken| now.since(taken) < pause) {
            return false;
        }
        self.taken = Some(now);
        self.generation += 1;
        let members = (self.members)();
        let placed = members.into_iter().filter_map(|member| Some((member.control_group?, member.unit)));
        // The root holds every process of the host: it is nobody's.
        self.by_group = placed.filter(|(group, _)| group.len() > 1 && group.starts_with('/')).collect();
        true
    }

    fn lookup(&self, group: &str) -> Option<UnitName> {
        let mut group = group;
        while !group.is_empty() {
            if let Some(unit) = self.by_group.get(group) {
                return Some(unit.clone());
            }
            group = &group[..group.rfind('/')?];
        }
        None
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::model::WorkerName;
    use crate::model::signal::Member;
    use crate::model::unit::InvocationId;

    pub fn member(unit: &str, group: &str) -> Member {
        Member {
            unit: UnitName::new(unit).unwrap(),
            worker: WorkerName::new("w").unwrap(),
            invocation: InvocationId(1),
            main_pid: 7,
            control_group: (!group.is_empty()).then(|| group.to_owned()),
            up_since: Some(Mono(1)),
        }
    }

    pub fn fixed(members: Vec<Member>) -> Members {
        Arc::new(move || members.clone())
    }

    fn found(groups: &mut Groups, group: &str) -> Option<String> {
        groups.find(group, Mono(0)).map(|unit| unit.to_string())
    }

    #[test]
    fn a_cgroup_belongs_to_the_nearest_instance_above_it() {
        let mut groups = Groups::new(fixed(vec![
            member("b.service", "/a/b"),
            member("inner.service", "/a/b/c/d"),
            member("root.service", "/"),
            member("empty.service", ""),
            member("relative.service", "a/x"),
        ]));
        for (group, unit) in [
            ("/a/b", Some("b.service")),
            ("/a/b/x", Some("b.service")),
            ("/a/b/c", Some("b.service")),
            ("/a/b/c/d/e/f", Some("inner.service")),
            ("/a/bc", None),
            ("/a/b (deleted)", None),
            ("/a", None),
            ("/", None),
            ("", None),
            ("a/x", None),
            ("/../a/b", None),
            ("/x/a/b", None),
        ] {
            assert_eq!(found(&mut groups, group).as_deref(), unit, "{group}");
        }
    }

    #[test]
    fn instances_are_taken_anew_once_a_second_at_most() {
        let (asked, up) = (Arc::new(Mutex::new(0)), Arc::new(Mutex::new(Vec::new())));
        let (count, list) = (asked.clone(), up.clone());
        let mut groups = Groups::new(Arc::new(move || {
            *count.lock().unwrap() += 1;
            list.lock().unwrap().clone()
        }));
        assert_eq!(groups.find("/m", Mono(0)), None);
        up.lock().unwrap().push(member("m.service", "/m"));
        assert_eq!(groups.find("/m", Mono(999_999)), None);
        assert_eq!(*asked.lock().unwrap(), 1, "a second has not passed");
        assert!(groups.find("/m", Mono(1_000_000)).is_some(), "it has come up since");
        for us in 1_000_000..1_000_100 {
            groups.find("/m", Mono(us));
        }
        assert_eq!(*asked.lock().unwrap(), 2, "who is known costs nothing");
        up.lock().unwrap().clear();
        assert!(!groups.keep_fresh(Mono(10_999_999)));
        assert!(groups.keep_fresh(Mono(11_000_000)));
        assert_eq!(groups.find("/m", Mono(11_000_000)), None, "those that are gone are forgotten");
    }
}
