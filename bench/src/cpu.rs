//! CPU time of the system's processes, as the kernel counts it in /proc.
use std::fs;
use std::path::Path;

/// The unit of times in /proc, the same on every machine that Linux's programs are compiled for.
const TICKS_PER_SECOND: f64 = 100.0;

/// Processes that are counted together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Its name in reports.
    pub name: String,
    /// The process.
    pub pid: u32,
    /// Whether its children belong to it, as a Postgres server's do.
    pub with_children: bool,
}

/// What is watched.
#[derive(Debug, Clone, Default)]
pub struct Watch(pub Vec<Group>);

/// What all watched processes had used at one moment.
#[derive(Debug, Clone, Default)]
pub struct Look {
    groups: Vec<(String, Option<Used>)>,
    machine_ticks: Option<u64>,
}

/// What a group has used so far, and since when its process lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Used {
    start_ticks: u64,
    cpu_ticks: u64,
}

/// CPU time used between two looks.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Usage {
    /// Each group's name and its seconds; `None` if its process ended or was started again meanwhile.
    pub groups: Vec<(String, Option<f64>)>,
    /// Seconds of all processors together that someone used, watched or not.
    pub machine_seconds: Option<f64>,
}

impl Watch {
    /// Watches this very process, too.
    pub fn and_own(mut self, name: &str) -> Self {
        self.0.push(Group { name: name.to_owned(), pid: std::process::id(), with_children: false });
        self
    }

    /// What has been used until now.
    pub fn look(&self) -> Look {
        let all = if self.0.iter().any(|group| group.with_children) { processes() } else { Vec::new() };
        let groups = self.0.iter().map(|group| (group.name.clone(), group.used(&all))).collect();
        let machine = fs::read_to_string("/proc/stat").ok();
        Look { groups, machine_ticks: machine.as_deref().and_then(busy_ticks) }
    }
}

impl Group {
    fn used(&self, all: &[Stat]) -> Option<Used> {
        Some(self.sum(Stat::read(self.pid)?, all))
    }

    fn sum(&self, own: Stat, all: &[Stat]) -> Used {
        let mut cpu_ticks = own.own_ticks;
        if self.with_children {
            // Those that ended are counted in their parent; those that live are not yet.
            let living = all.iter().filter(|one| one.parent == self.pid);
            cpu_ticks += own.ended_children_ticks + living.map(|one| one.own_ticks).sum::<u64>();
        }
        Used { start_ticks: own.start_ticks, cpu_ticks }
    }
}

impl Look {
    /// What was used since an earlier look.
    pub fn since(&self, earlier: &Look) -> Usage {
        let groups = self.groups.iter().zip(&earlier.groups).map(|((name, now), (_, before))| {
            let seconds = match (before, now) {
                (Some(before), Some(now)) if before.start_ticks == now.start_ticks => {
                    Some(seconds(before.cpu_ticks, now.cpu_ticks))
                }
                _ => None,
            };
            (name.clone(), seconds)
        });
        let machine_seconds = earlier.machine_ticks.zip(self.machine_ticks).map(|(from, to)| seconds(from, to));
        Usage { groups: groups.collect(), machine_seconds }
    }
}

impl Usage {
    /// Seconds that others used; `None` if not everything could be told apart.
    pub fn others_seconds(&self) -> Option<f64> {
        let watched: Option<Vec<f64>> = self.groups.iter().map(|(_, seconds)| *seconds).collect();
        Some((self.machine_seconds? - watched?.iter().sum::<f64>()).max(0.0))
    }
}

fn seconds(from_ticks: u64, to_ticks: u64) -> f64 {
    to_ticks.saturating_sub(from_ticks) as f64 / TICKS_PER_SECOND
}

/// What /proc/PID/stat says of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stat {
    parent: u32,
    own_ticks: u64,
    ended_children_ticks: u64,
    start_ticks: u64,
}

impl Stat {
    fn read(pid: u32) -> Option<Self> {
        Self::parse(&fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat")).ok()?)
    }

    fn parse(stat: &str) -> Option<Self> {
        // The second field is a name in parentheses that may hold anything; the third follows the last of them.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        Some(Stat {
            parent: u32::try_from(field(4)?).ok()?,
            own_ticks: field(14)? + field(15)?,
            ended_children_ticks: field(16)? + field(17)?,
            start_ticks: field(22)?,
        })
    }
}

/// All processes there are.
fn processes() -> Vec<Stat> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter_map(Stat::read).collect()
}

/// Ticks in which some processor was busy, from /proc/stat. Time that the machine's host took away is not ours.
fn busy_ticks(stat: &str) -> Option<u64> {
    let fields: Vec<u64> = stat.lines().next()?.split_whitespace().skip(1).filter_map(|one| one.parse().ok()).collect();
    let [user, nice, system, _idle, _waiting, interrupts, soft_interrupts, ..] = fields[..] else { return None };
    Some(user + nice + system + interrupts + soft_interrupts)
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::process::Stdio;

    use super::*;

    #[test]
    fn a_name_of_a_process_may_hold_anything() {
        let stat = "7 (a) b) c) S 5 7 7 0 -1 4194560 8 0 0 0 120 30 9 1 20 0 1 0 4711 0 0";
        let expected = Stat { parent: 5, own_ticks: 150, ended_children_ticks: 10, start_ticks: 4711 };
        assert_eq!(Stat::parse(stat), Some(expected));
        assert_eq!(Stat::parse("7 (cut off) S 5 7"), None);
        assert_eq!(Stat::parse(""), None);
    }

    #[test]
    fn waiting_is_not_being_busy() {
        let stat = "cpu  100 20 30 9999 888 4 5 77 0 0\ncpu0 1 1 1 1 1 1 1 1 0 0\n";
        assert_eq!(busy_ticks(stat), Some(159));
        assert_eq!(busy_ticks("cpu 1 2"), None);
    }

    #[test]
    fn a_process_that_was_started_again_is_not_told() {
        let look = |start_ticks, cpu_ticks| Look {
            groups: vec![("one".to_owned(), Some(Used { start_ticks, cpu_ticks }))],
            machine_ticks: Some(cpu_ticks + 100),
        };
        let usage = look(1, 350).since(&look(1, 100));
        assert_eq!(usage.groups, [("one".to_owned(), Some(2.5))]);
        assert_eq!(usage.others_seconds(), Some(0.0));
        let usage = look(2, 350).since(&look(1, 100));
        assert_eq!((&usage.groups[0].1, usage.others_seconds()), (&None, None));
        let gone = Look { groups: vec![("one".to_owned(), None)], machine_ticks: None };
        assert_eq!(gone.since(&look(1, 100)).groups, [("one".to_owned(), None)]);
    }

    #[test]
    fn a_servers_children_belong_to_it_dead_or_alive() {
        let stat = |parent, own_ticks| Stat { parent, own_ticks, ended_children_ticks: 1_000, start_ticks: 1 };
        let all = [stat(1, 10_000), stat(7, 100), stat(7, 200), stat(8, 50_000)];
        let group = |with_children| Group { name: "db".to_owned(), pid: 7, with_children };
        assert_eq!(group(true).sum(stat(1, 10), &all).cpu_ticks, 10 + 1_000 + 100 + 200);
        assert_eq!(group(false).sum(stat(1, 10), &all).cpu_ticks, 10);
    }

    #[test]
    fn what_a_process_uses_is_seen() {
        let spin = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; echo done; read wait";
        let mut command = std::process::Command::new("sh");
        let mut shell = command.args(["-c", spin]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let watch = Watch(vec![Group { name: "sh".to_owned(), pid: shell.id(), with_children: false }]);
        let before = watch.look();
        let mut said = String::new();
        BufReader::new(shell.stdout.take().unwrap()).read_line(&mut said).unwrap();
        let usage = watch.look().since(&before);
        shell.kill().unwrap();
        shell.wait().unwrap();
        assert_eq!(said, "done\n");
        let (used, machine) = (usage.groups[0].1.unwrap(), usage.machine_seconds.unwrap());
        assert!(used >= 0.02 && machine > 0.0, "{usage:?}");
        assert_eq!(watch.look().since(&before).groups[0].1, None, "it is gone");
    }
}
