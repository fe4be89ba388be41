//! memory_cleanup as the root side does it: how fast, how far, and that memory.high is as before whatever happens.
//!
//! The root side is called here directly, without the daemon and its plans.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use unitmedic::adapters::cgroup::CgroupPath;
use unitmedic::adapters::systemd::bus::BusAddress;
use unitmedic::helper::Helper;
use unitmedic::helper::activation::Group;
use unitmedic::helper::memory::{Reclaimed, Subject, Way};
use unitmedic::helper::trouble::Trouble;
use unitmedic::model::action::{Answer, Refused};
use unitmedic::model::unit::InvocationId;
use unitmedic::model::{AttemptId, IncidentId, Order, Selector, Settings, UnitName, Verb, WorkerName, WorkerSettings};

use super::LIMIT;
use crate::medic::number;
use crate::testhost::{Failure, Here, Place, wait_for};

const MIB: u64 = 1 << 20;

/// `memory_target` of the cases, percent.
pub const TARGET: f64 = 55.0;
pub const RUNTIME_DIR: &str = "/run/cleanup-cases";

const LIMIT_BYTES: u64 = 64 * MIB;
/// What the issue asks for: from over 85 % to under 60 % in under 2 s.
const OVER: u64 = LIMIT_BYTES * 85 / 100;
const UNDER: u64 = LIMIT_BYTES * 60 / 100;
const IN: Duration = Duration::from_secs(2);
const TRIES: u32 = 3;

/// Twice its limit is read, so that pages are taken for it under pressure and the cache is full in the end.
const CACHE: &str = "vm-cache.service";
const CACHE_UNIT: &str = "[Service]\nMemoryMax=64M\n\
    ExecStart=/opt/unitmedic-cases --as-worker read-on /var/tmp/cases-cache /run/cleanup-cases/read\n";

/// Without swap none of it can be taken.
const HELD: &str = "vm-held.service";
const HELD_UNIT: &str = "[Service]\nMemoryMax=64M\n\
    ExecStart=/opt/unitmedic-cases --as-worker hold-anon 56M /run/cleanup-cases/hold\n";

/// The cgroup of a unit that is running.
pub fn subject(unit: &str) -> Result<Subject, Failure> {
    let path = CgroupPath::parse(&format!("/system.slice/{unit}")).map_err(|error| error.to_string())?;
    let group = Group { root: "/sys/fs/cgroup".into(), path };
    Subject::open(group).map_err(|trouble| trouble.to_string().into())
}

pub fn reclaims_to_the_target() -> Result<(), Failure> {
    in_time(reclaim)
}

pub fn time_box_restores() -> Result<(), Failure> {
    in_time(time_box_and_restore)
}

/// The time that is asked for holds on a machine that is not emulated. On one where the same by hand takes longer than
/// half of it, twice that is the limit: `case` gets the limit. Others have the processors too, so it may try again.
fn in_time(case: impl Fn(Duration) -> Result<(), Failure>) -> Result<(), Failure> {
    let mut last = Ok(());
    for _ in 0..TRIES {
        let by_hand = reclaim_by_hand()?;
        println!("by hand in {by_hand:?}");
        last = case(IN.max(by_hand * 2));
        if last.is_ok() {
            break;
        }
        Here.ctl(&["stop", CACHE])?;
    }
    last
}

/// As an operator would: asks systemd for the activation, then the kernel for the memory.
fn reclaim_by_hand() -> Result<Duration, Failure> {
    fill_the_cache()?;
    let bytes = LIMIT_BYTES - UNDER;
    let begun = Instant::now();
    Here.property(CACHE, "InvocationID")?;
    // The kernel says EAGAIN when it found less than that.
    Here.sh(&format!("echo {bytes} > {}/memory.reclaim || true", cgroup(CACHE)))?;
    let took = begun.elapsed();
    Here.ctl(&["stop", CACHE])?;
    Ok(took)
}

fn reclaim(limit: Duration) -> Result<(), Failure> {
    fill_the_cache()?;
    let (pid, invocation) = (Here.main_pid(CACHE)?, Here.property(CACHE, "InvocationID")?);
    let before = number(&format!("{}/memory.current", cgroup(CACHE)))?;
    let (answer, took) = clean_up(CACHE, &invocation)?;
    let after = number(&format!("{}/memory.current", cgroup(CACHE)))?;
    let told = match answer {
        Answer::Accepted { did: Some(did), .. } => did,
        other => return Err(format!("{other:?}").into()),
    };
    println!("{told}; in {took:?}; {before} -> {after} bytes");
    check(before, after, took, limit)?;
    if !told.starts_with("reclaimed ") || !told.contains(" of 64 MiB -> ") {
        return Err(told.into());
    }
    if Here.main_pid(CACHE)? != pid || Here.property(CACHE, "InvocationID")? != invocation {
        return Err("it was started anew".into());
    }
    Here.ctl(&["stop", CACHE])?;
    Ok(())
}

fn time_box_and_restore(limit: Duration) -> Result<(), Failure> {
    fill_the_cache()?;
    let pid = Here.main_pid(CACHE)?;
    let (reclaimed, took) = time_box(CACHE)?;
    let reclaimed = reclaimed.map_err(|trouble| trouble.to_string())?;
    println!("{reclaimed:?} in {took:?}");
    check(reclaimed.before, number(&format!("{}/memory.current", cgroup(CACHE)))?, took, limit)?;
    if high(CACHE)? != "max" || records()? != 0 || Here.main_pid(CACHE)? != pid {
        return Err(format!("memory.high is {}, {} records are left", high(CACHE)?, records()?).into());
    }
    Here.ctl(&["stop", CACHE])?;
    Ok(())
}

pub fn a_kill_is_mended() -> Result<(), Failure> {
    fill_the_cache()?;
    Here.sh(&format!("systemctl set-property --runtime {CACHE} MemoryHigh=63M"))?;
    let original = high(CACHE)?;
    let mut child = Command::new("/opt/unitmedic-cases")
        .args(["--as-worker", "time-box", CACHE])
        .stdin(Stdio::null())
        .spawn()
        .map_err(|error| Failure::new(error.to_string()))?;
    let lowered = wait_for("memory.high is lowered", LIMIT, || match high(CACHE)? {
        same if same == original => Err(Failure::new(same)),
        lowered => Ok(lowered),
    });
    child.kill()?;
    child.wait()?;
    let lowered = lowered?;
    if high(CACHE)? == original || records()? != 1 {
        return Err(format!("after the kill memory.high is {}, records {}", high(CACHE)?, records()?).into());
    }
    with_helper(CACHE, async |_| ())?;
    let restored = high(CACHE)?;
    println!("memory.high {original}, lowered to {lowered}, killed, restored to {restored}");
    if restored != original || records()? != 0 {
        return Err(format!("memory.high is {restored}, not {original}; {} records are left", records()?).into());
    }
    Here.ctl(&["stop", CACHE])?;
    Ok(())
}

pub fn gives_up() -> Result<(), Failure> {
    let limit = IN.max(reclaim_by_hand()? * 2);
    Here.ctl(&["start", HELD])?;
    Here.write("/run/cleanup-cases/hold", "")?;
    wait_for("it holds its memory", LIMIT, || over(HELD))?;
    let invocation = Here.property(HELD, "InvocationID")?;
    let (answer, took) = clean_up(HELD, &invocation)?;
    println!("memory.reclaim: {answer:?} in {took:?}");
    if !matches!(answer, Answer::Refused { why: Refused::Nothing, .. }) {
        return Err(format!("{answer:?}").into());
    }
    let (reclaimed, boxed) = time_box(HELD)?;
    println!("memory.high: {reclaimed:?} in {boxed:?}");
    let nothing = matches!(reclaimed, Err(Trouble::Unable(_)));
    if took > limit || boxed > limit || !nothing || high(HELD)? != "max" || records()? != 0 {
        return Err(format!("{took:?} {boxed:?} {reclaimed:?} {} {}", high(HELD)?, records()?).into());
    }
    if Here.property(HELD, "InvocationID")? != invocation {
        return Err("it was started anew".into());
    }
    Here.ctl(&["stop", HELD])?;
    Ok(())
}

/// Once: to reload systemd takes seconds here.
fn prepare() -> Result<(), Failure> {
    static PREPARED: OnceLock<Result<(), Failure>> = OnceLock::new();
    let prepare = || -> Result<(), Failure> {
        fs::create_dir_all(RUNTIME_DIR)?;
        Here.sh("truncate --size 128M /var/tmp/cases-cache")?;
        fs::write(format!("{}/{HELD}", Here.unit_directory()), HELD_UNIT)?;
        Here.install_unit(CACHE, CACHE_UNIT)
    };
    PREPARED.get_or_init(prepare).clone()
}

fn cgroup(unit: &str) -> String {
    format!("/sys/fs/cgroup/system.slice/{unit}")
}

fn fill_the_cache() -> Result<(), Failure> {
    prepare()?;
    // What an earlier activation has read is in the cache, on its account.
    Here.write("/proc/sys/vm/drop_caches", "1")?;
    Here.ctl(&["start", CACHE])?;
    Here.write("/run/cleanup-cases/read", "")?;
    wait_for("the file is read", LIMIT, || fs::remove_file("/run/cleanup-cases/read-done").map_err(Failure::from))?;
    over(CACHE)
}

fn over(unit: &str) -> Result<(), Failure> {
    let current = number(&format!("{}/memory.current", cgroup(unit)))?;
    if current > OVER { Ok(()) } else { Err(format!("{current} bytes").into()) }
}

fn check(before: u64, after: u64, took: Duration, limit: Duration) -> Result<(), Failure> {
    if before > OVER && after < UNDER && took < limit {
        return Ok(());
    }
    Err(format!("{before} -> {after} bytes (from over {OVER} to under {UNDER}) in {took:?}, over {limit:?}").into())
}

fn high(unit: &str) -> Result<String, Failure> {
    let file = format!("{}/memory.high", cgroup(unit));
    Ok(fs::read_to_string(file)?.trim().to_owned())
}

/// Originals that are kept.
fn records() -> Result<usize, Failure> {
    let names = fs::read_dir(format!("{RUNTIME_DIR}/restore")).into_iter().flatten().flatten();
    Ok(names.filter(|entry| entry.file_name().to_string_lossy().starts_with("memory.high-")).count())
}

fn time_box(unit: &str) -> Result<(Result<Reclaimed, Trouble>, Duration), Failure> {
    let subject = subject(unit)?;
    let begun = Instant::now();
    let reclaimed = subject.clean(TARGET, Path::new(RUNTIME_DIR), Way::TimeBox, &|| true);
    Ok((reclaimed, begun.elapsed()))
}

/// The whole order, as the daemon would give it.
fn clean_up(unit: &str, invocation: &str) -> Result<(Answer, Duration), Failure> {
    let invocation = InvocationId::try_from(invocation.to_owned())?;
    let order = Order {
        attempt: AttemptId { incident: IncidentId(1), number: 1 },
        unit: UnitName::new(unit).map_err(|error| error.to_string())?,
        verb: Verb::ReclaimMemory { invocation },
    };
    with_helper(unit, async |helper| {
        let begun = Instant::now();
        let answer = helper.act(&order).await;
        (answer, begun.elapsed())
    })
}

fn with_helper<T>(unit: &str, work: impl AsyncFnOnce(&Helper) -> T) -> Result<T, Failure> {
    let unit = UnitName::new(unit).map_err(|error| error.to_string())?;
    let name = WorkerName::new("cleanup").map_err(|error| error.to_string())?;
    let mut worker = WorkerSettings::new(name.clone(), Selector::Unit(unit));
    worker.memory_target = TARGET;
    let mut settings = Settings::empty();
    settings.workers.insert(name, worker);
    settings.daemon.runtime_dir = RUNTIME_DIR.into();
    let (_keep, settings) = watch::channel(Arc::new(settings));
    let helper = Helper::new(BusAddress::System, settings, Path::new(RUNTIME_DIR));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(runtime.block_on(async {
        helper.prepare().await;
        work(&helper).await
    }))
}
