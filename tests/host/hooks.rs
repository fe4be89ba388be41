//! Commands of an operator's own: what runs is exactly what was written, and what runs wild disturbs nobody.

use std::time::Duration;

use unitmedic::model::{Action, Condition, Incident, Outcome};

use crate::fixture::{CONFIG, Host, SLEEPER, Setup, ensure, until};
use crate::testhost::{Failure, Place};

const PATIENCE: Duration = Duration::from_secs(60);

/// Leaves two processes that do not heed SIGTERM, one of them in a session of its own.
const STUBBORN: &str =
    "trap '' TERM; setsid sh -c \"trap '' TERM; while :; do sleep 7771; done\" & while :; do sleep 7772; done";

fn hook(worker: &str, name: &str, command: &[&str], more: &str) -> String {
    let command = serde_json::to_string(command).expect("texts");
    format!("[worker.{worker}.hooks.{name}]\ncommand = {command}\ndisruptive = false\n{more}\n")
}

fn host() -> Result<Host, Failure> {
    let show = "import os, sys\nopen('/run/shown', 'w').write(repr((os.getuid(), sys.argv[1:])))\n";
    let words =
        ["/usr/bin/python3", "/usr/local/lib/show.py", "%n", "%i", "%p", "%%", "$HOME", "a  b", "\"q\"", "é\\x41"];
    let hooks = [
        hook("mail", "show", &words, ""),
        hook("mail", "as-nobody", &["/usr/bin/test", "-w", "/etc/shadow"], "user = \"nobody\""),
        hook("mail", "fail", &["/bin/sh", "-c", "echo something is wrong >&2; exit 3"], ""),
        hook("mail", "missing", &["/no/such/program"], ""),
        hook("mail", "stubborn", &["/bin/sh", "-c", STUBBORN], "timeout = \"1s\""),
        hook("mail", "slow", &["/bin/sleep", "3"], ""),
        hook("mail", "loud", &["/bin/sh", "-c", "yes a line of noise | head -c 20000000"], ""),
        "[worker.mended]\nunit = \"mended.service\"\nprobe_command = [\"/usr/bin/test\", \"-e\", \"/run/mended-%p\"]\n\
         [worker.mended.plans]\nprobe_failed = [\"hook:vain\", \"hook:mend\", \"escalate\"]"
            .into(),
        hook("mended", "vain", &["/bin/false"], ""),
        hook("mended", "mend", &["/usr/bin/touch", "/run/mended-%p"], ""),
    ];
    Setup::new("hooks")
        .file("/usr/local/lib/show.py", show)
        .worker_with("mail", "mail@.service", SLEEPER, &hooks.join("\n"))
        .unit("mended.service", SLEEPER)
        .starting("mail@1.service")
        .starting("mended.service")
        .start()
}

/// Asks for a hook, and returns the attempt's outcome with the last line of what was said.
fn recover(host: &Host, name: &str) -> Result<(Option<i32>, String), Failure> {
    let output =
        host.run_for(&["unitmedic", "recover", "mail@1.service", "--action", &format!("hook:{name}")], b"", PATIENCE)?;
    Ok((output.code(), output.stdout + &output.stderr))
}

fn says(said: &(Option<i32>, String), code: i32, words: &[&str]) -> Result<(), Failure> {
    let holds = said.0 == Some(code) && words.iter().all(|word| said.1.contains(word));
    ensure(holds, || format!("not {code} with {words:?}: {said:?}"))
}

#[test]
fn hooks_run_as_written_and_within_limits() -> Result<(), Failure> {
    let host = host()?;
    let before = host.activation("mail@1.service")?;
    says(&recover(&host, "show")?, 0, &["It helped"])?;
    let words = r#"['mail@1.service', '1', 'mail', '%', '$HOME', 'a  b', '"q"', 'é\\x41'])"#;
    let shown = host.read("/run/shown")?;
    ensure(shown == format!("(0, {words}"), || shown)?;

    says(&recover(&host, "fail")?, 1, &["hook fail failed", "exit-code, code=exited/status=3"])?;
    says(&recover(&host, "as-nobody")?, 1, &["hook as-nobody failed", "status=1"])?;
    says(&recover(&host, "missing")?, 1, &["hook missing failed", "/no/such/program"])?;
    says(&recover(&host, "stubborn")?, 1, &["hook stubborn failed", "timeout"])?;
    let left = host.sh("pgrep -f 'sleep 777[12]' || true")?;
    ensure(left.is_empty(), || format!("of the stubborn hook there is left: {left}"))?;
    says(&recover(&host, "loud")?, 0, &["It helped"])?;
    says(&recover(&host, "nope")?, 64, &["worker mail has no hook nope", "as-nobody, fail, loud, missing, show"])?;

    host.write("/run/unitmedic/hold", "")?;
    until("it is held", PATIENCE, || if host.status()?.held { Ok(()) } else { Err(Failure::from("not yet")) })?;
    host.sh("rm /run/shown")?;
    says(&recover(&host, "show")?, 3, &["gate hold"])?;
    ensure(host.sh("test -e /run/shown && echo yes || true")?.is_empty(), || "it ran while held".into())?;
    host.sh("rm /run/unitmedic/hold")?;

    ensure(host.activation("mail@1.service")? == before, || "the worker was restarted".into())?;
    ensure(host.sh("systemctl list-units --all --no-legend 'unitmedic-hook-*'")?.trim().is_empty(), || {
        "a unit of a hook is left".into()
    })?;
    host.prove_awake()?;
    host.done()
}

#[test]
fn a_helper_that_is_stopped_ends_what_it_has_begun() -> Result<(), Failure> {
    let host = host()?;
    let mut asking = host.spawn(&["unitmedic", "recover", "mail@1.service", "--action", "hook:slow"])?;
    until("the hook runs", PATIENCE, || {
        let units = host.ctl(&["list-units", "--no-legend", "unitmedic-hook-slow-*"])?;
        if units.contains("running") { Ok(()) } else { Err(Failure::new(units)) }
    })?;
    host.ctl(&["stop", "unitmedic-helper.service"])?;
    asking.wait_output("It helped", PATIENCE)?;
    // The next order starts it anew.
    says(&recover(&host, "show")?, 0, &["It helped"])?;
    host.done()
}

#[test]
fn a_plan_of_hooks_goes_on_to_the_one_that_helps() -> Result<(), Failure> {
    let host = host()?;
    let before = host.activation("mended.service")?;
    host.write("/run/mended-mended", "")?;
    let probed = "unitmedic_probe_success{worker=\"mended\",unit=\"mended.service\"}";
    until("the probe has passed", PATIENCE, || match host.metric(probed)? {
        Some(1.0) => Ok(()),
        other => Err(Failure::new(format!("{other:?}"))),
    })?;
    host.sh("rm /run/mended-mended")?;
    let incident: Incident = until("it is mended", PATIENCE, || {
        let incidents = host.incidents("mended.service")?;
        let closed = incidents.iter().find(|incident| !incident.is_open()).cloned();
        closed.ok_or_else(|| Failure::new(format!("{incidents:#?}")))
    })?;
    let attempts: Vec<_> = incident.attempts.iter().map(|attempt| (attempt.action, attempt.outcome)).collect();
    let hook = |name: &str| Action::parse(&format!("hook:{name}")).expect("a name");
    let want = [(hook("vain"), Some(Outcome::Failed)), (hook("mend"), Some(Outcome::Succeeded))];
    let for_probe = incident.conditions.contains_key(&Condition::ProbeFailed);
    ensure(for_probe && attempts == want, || format!("{incident:#?}"))?;
    ensure(host.activation("mended.service")? == before, || "it was restarted".into())?;
    // A name that no hook has is refused where it stands, and the hooks in force stay.
    host.write(CONFIG, &host.config.replace("hook:vain", "hook:wane"))?;
    let said = host.unitmedic(&["check-config"])?;
    ensure(said.code() == Some(78) && said.stderr.contains("hook:wane"), || format!("{said:?}"))?;
    host.done()
}
