//! Keys of heartbeats, queues, errors, probes, scaling and the milder actions; hooks, and plans that use them.

use std::time::Duration;

use expect_test::expect;

use super::super::reference;
use super::{bad, good, one};
use crate::model::Condition;

#[test]
fn keys_of_work_and_plans_with_hooks() {
    let settings = good(
        r#"
[defaults]
amqp_url = "amqp://broker.example"
amqp_password_credential = "all"
queues = ["all"]
surge = true
[defaults.hooks.flush]
command = ["/usr/bin/flush", "100%%"]
disruptive = false
[defaults.plans]
hung = ["hook:flush", "connection_reset", "escalate"]
[worker.mail]
unit = "mail@.service"
max_instances = 4
amqp_url = "amqps://[::1]:5671/a%2Fb"
amqp_password_file = "/etc/mail/password"
queues = ["mail", { vhost = "jobs", name = "mail" }]
heartbeat_file = "/run/%p/%i"
error_match = '(?i)\bpanic\b'
probe_http = "http://127.0.0.1:80%i/health?full=1"
probe_tcp = "[::1]:90%i"
probe_command = ["/usr/bin/check", "", "%n"]
peers = ["10.0.0.5:5672", "[::1]:5672"]
scale_on = []
memory_signal = "HUP"
hooks.flush.user = "mail"
plans.backlog_high = ["scale_up", "hook:flush", "escalate"]
[worker.web]
unit = "web.service"
peers = ["a:1"]
queues = []
"#,
    );
    let (mail, web) = (&settings.workers["mail"], &settings.workers["web"]);
    let flush = mail.hooks.values().next().unwrap();
    assert_eq!(
        (flush.user.as_deref(), flush.disruptive, flush.timeout),
        (Some("mail"), false, Duration::from_secs(30))
    );
    assert_eq!(mail.queues[1].vhost.as_deref(), Some("jobs"));
    assert_eq!((mail.peers[1].host.as_str(), mail.peers[1].port), ("::1", 5672));
    assert!(mail.scale_on.is_empty() && web.queues.is_empty() && mail.memory_signal == Some(1));
    assert_eq!(mail.amqp_password_credential, None, "what the worker says of its password replaces the defaults");
    assert_eq!(web.amqp_password_credential.as_deref(), Some("all"));
    assert_eq!(mail.plans[&Condition::BacklogHigh].len(), 3);
    assert_eq!(settings.origins["worker.mail.hooks.flush.command"], "u.toml:8");
    assert_eq!(settings.origins["worker.mail.hooks.flush.user"], "u.toml:26");
    let shown = reference::in_force(&settings, mail);
    let value =
        |key: &str| shown.iter().find(|view| view.key == format!("worker.mail.{key}")).map(|v| v.value.as_str());
    assert_eq!(value("error_match"), Some(r"'(?i)\bpanic\b'"));
    assert_eq!(value("hooks.flush.command"), Some(r#"["/usr/bin/flush", "100%%"]"#));
    assert_eq!(value("peers"), Some(r#"["10.0.0.5:5672", "[::1]:5672"]"#));
}

#[test]
fn bad_values_of_signals() {
    bad(
        r#"
[worker.a]
unit = "a@.service"
heartbeat_file = "/run/%h/x"
probe_tcp = "localhost"
probe_command = ["check"]
probe_timeout = "10ms"
probe_failures = 4
error_match = "(oops"
error_rate_threshold = 0
error_rate_window = "2h"
peers = ["::1:5672", "x"]
reset_signal = "KILL"
memory_target = 90
scale_on = ["backlog", "cpus"]
consumers_per_instance = 0
heartbeat_timout = 5
[worker.b]
unit = "b.service"
heartbeat_file = "run/b"
probe_tcp = "host:0"
probe_command = []
probe_http = "https://127.0.0.1/health"
error_match = "x*"
peers = ["h:1", "h:1"]
scale_on = ["cpu", "cpu"]
surge = true
[worker.c]
unit = "c.service"
probe_command = ["/bin/date", "+%s"]
probe_http = "http://"
error_match = '(\w{50}){50}'
peers = ["u:secret@h:1"]
queue_samples = 61
"#,
        expect![[r#"
            u.toml:4: heartbeat_file in [worker.a] takes an absolute path, in which %n, %i, %p and %% mean what they mean in unit files; found the string "/run/%h/x" (known after % are n, i, p and %; a percent sign is written %%)
            u.toml:5: probe_tcp in [worker.a] takes a host and its port, such as "127.0.0.1:5000" or "[::1]:5000"; found the string "localhost" (a port from 1 to 65535 must follow a colon)
            u.toml:6: probe_command in [worker.a] takes a list of 1 to 64 texts: a program with its absolute path, and its arguments; found an array (the program "check" has no absolute path)
            u.toml:7: probe_timeout in [worker.a] takes a time span from 100ms to 1min; found the string "10ms"
            u.toml:8: probe_failures in [worker.a] is above probe_window: 4 of 3 probes can never be
            u.toml:9: error_match in [worker.a] takes a regular expression of at most 1024 bytes; found the string "(oops" (unclosed group)
            u.toml:10: error_rate_threshold in [worker.a] takes a number over 0 and up to 1000000000; found the number 0
            u.toml:11: error_rate_window in [worker.a] takes a time span from 1min to 1h; found the string "2h"
            u.toml:12: peers in [worker.a] takes a list of at most 64 hosts with their ports, such as ["10.0.0.5:5672", "[::1]:5672"]; found an array (in "::1:5672": an IPv6 address is written in brackets, [::1]:5672)
            u.toml:13: reset_signal in [worker.a] takes a signal, such as "SIGTERM" or 15; found the string "KILL" (a process cannot catch it, so it cannot finish its work)
            u.toml:14: memory_target in [worker.a] is 90, and must be below memory_threshold (85)
            u.toml:15: scale_on in [worker.a] takes a list of "backlog", "cpu" or "memory"; found an array (unknown is "cpus"; did you mean "cpu"?)
            u.toml:16: consumers_per_instance in [worker.a] takes a whole number from 1 to 10000; found the number 0 (zero does not mean unlimited)
            u.toml:17: unknown key "heartbeat_timout" in [worker.a]; did you mean "heartbeat_timeout"?
            u.toml:20: heartbeat_file in [worker.b] takes an absolute path, in which %n, %i, %p and %% mean what they mean in unit files; found the string "run/b"
            u.toml:21: probe_tcp in [worker.b] takes a host and its port, such as "127.0.0.1:5000" or "[::1]:5000"; found the string "host:0" (a port from 1 to 65535 must follow a colon)
            u.toml:22: probe_command in [worker.b] takes a list of 1 to 64 texts: a program with its absolute path, and its arguments; found an array (it is empty)
            u.toml:23: probe_http in [worker.b] takes a URL such as "http://127.0.0.1:8080/health"; found the string "https://127.0.0.1/health" (https needs probe_command, with a program such as curl)
            u.toml:24: error_match in [worker.b] takes a regular expression of at most 1024 bytes; found the string "x*" (it matches every message)
            u.toml:25: peers in [worker.b] takes a list of at most 64 hosts with their ports, such as ["10.0.0.5:5672", "[::1]:5672"]; found an array (it has "h:1" twice)
            u.toml:26: scale_on in [worker.b] takes a list of "backlog", "cpu" or "memory"; found an array (it has "cpu" twice)
            u.toml:27: surge in [worker.b] starts an extra instance of a template, but unit is b.service; use NAME@.service
            u.toml:30: probe_command in [worker.c] takes a list of 1 to 64 texts: a program with its absolute path, and its arguments; found an array (in "+%s": known after % are n, i, p and %; a percent sign is written %%)
            u.toml:31: probe_http in [worker.c] takes a URL such as "http://127.0.0.1:8080/health"; found the string "http://" (its host is missing)
            u.toml:32: error_match in [worker.c] takes a regular expression of at most 1024 bytes; found the string "(\\w{50}){50}" (it is too large when compiled)
            u.toml:33: peers in [worker.c] takes a list of at most 64 hosts with their ports, such as ["10.0.0.5:5672", "[::1]:5672"]; found an array (in a text with a user in it: a user or password has no place here)
            u.toml:34: queue_samples in [worker.c] takes a whole number from 1 to 60; found the number 61"#]],
    );
}

#[test]
fn bad_brokers_and_queues() {
    bad(
        r#"
worker.a = { unit = "a.service", queues = ["mail"] }
worker.b = { unit = "b.service", amqp_url = "amqp://u:secret@h/v", amqp_password = "secret" }
worker.c = { unit = "c.service", amqp_url = "http://h.example", management_url = "http://u.example:secret@h.example" }
worker.d = { unit = "d.service", amqp_url = "amqp://", management_url = "amqp://h" }
worker.e = { unit = "e.service", amqp_url = "amqp://h/a/b", queues = ["q", "q"] }
worker.f = { unit = "f.service", amqp_url = "amqp://h/", queues = [{ nam = "q" }] }
worker.g = { unit = "g.service", amqp_url = "amqp://h:99999/", queues = [{ vhost = "v" }] }
worker.h = { unit = "h.service", amqp_url = "amqp://h?heartbeat=1", queues = ["", 5] }
worker.i = { unit = "i.service", amqp_url = "amqp://h/%zz", amqp_user = "" }
worker.j = { unit = "j.service", amqp_password_file = "/a", amqp_password_credential = "b" }
worker.k = { unit = "k.service", amqp_password_file = "a", amqp_password_credential = "a/b" }
worker.l = { unit = "l.service", amqp_url = "amqp://h", queues = [{ name = "q", vhost = "v" }, { vhost = "v", name = "q" }] }
"#,
        expect![[r#"
            u.toml:2: queues in [worker.a] needs amqp_url in [worker.a], such as "amqp://broker.example/VHOST"
            u.toml:3: amqp_url in [worker.b] takes a URL such as "amqps://broker.example:5671/VHOST"; found a text with a user in it (a user or password in it would be seen by others; take it out, and set amqp_user and amqp_password_file)
            u.toml:3: unknown key "amqp_password" in [worker.b]; did you mean "amqp_password_file"?
            u.toml:4: amqp_url in [worker.c] takes a URL such as "amqps://broker.example:5671/VHOST"; found the string "http://h.example" (it must begin with amqp:// or amqps://)
            u.toml:4: management_url in [worker.c] takes a URL such as "http://broker.example:15672"; found a text with a user in it (a user or password in it would be seen by others; take it out, and set amqp_user and amqp_password_file)
            u.toml:5: amqp_url in [worker.d] takes a URL such as "amqps://broker.example:5671/VHOST"; found the string "amqp://" (its host is missing)
            u.toml:5: management_url in [worker.d] takes a URL such as "http://broker.example:15672"; found the string "amqp://h" (it must begin with http:// or https://)
            u.toml:6: amqp_url in [worker.e] takes a URL such as "amqps://broker.example:5671/VHOST"; found the string "amqp://h/a/b" (a virtual host is one word; a / in its name is written %2F)
            u.toml:6: queues in [worker.e] takes a list of at most 64 queues, such as ["mail", { vhost = "jobs", name = "mail" }]; found an array (it has "q" twice)
            u.toml:7: amqp_url in [worker.f] takes a URL such as "amqps://broker.example:5671/VHOST"; found the string "amqp://h/" (its virtual host is empty; for the virtual host "/", leave the last / out)
            u.toml:7: queues in [worker.f] takes a list of at most 64 queues, such as ["mail", { vhost = "jobs", name = "mail" }]; found an array (unknown key "nam" of a queue; did you mean "name"?)
            u.toml:8: amqp_url in [worker.g] takes a URL such as "amqps://broker.example:5671/VHOST"; found the string "amqp://h:99999/" (a port from 1 to 65535 must follow a colon)
            u.toml:8: queues in [worker.g] takes a list of at most 64 queues, such as ["mail", { vhost = "jobs", name = "mail" }]; found an array (a queue has no name)
            u.toml:9: amqp_url in [worker.h] takes a URL such as "amqps://broker.example:5671/VHOST"; found the string "amqp://h?heartbeat=1" (nothing can follow its path)
            u.toml:9: queues in [worker.h] takes a list of at most 64 queues, such as ["mail", { vhost = "jobs", name = "mail" }]; found an array (a queue's name has 1 to 255 bytes and no control characters)
            u.toml:10: amqp_url in [worker.i] takes a URL such as "amqps://broker.example:5671/VHOST"; found the string "amqp://h/%zz" (% must be followed by two hexadecimal digits)
            u.toml:10: amqp_user in [worker.i] takes a text of 1 to 255 bytes, without control characters; found the string ""
            u.toml:11: amqp_password_credential in [worker.j] cannot be set together with amqp_password_file; keep one of the two
            u.toml:12: amqp_password_credential in [worker.k] takes a name of letters, digits, -, _ and .; found a text that is not repeated here, as it could be the password itself
            u.toml:12: amqp_password_file in [worker.k] takes an absolute path of at most 1024 bytes; found a text that is not repeated here, as it could be the password itself
            u.toml:13: queues in [worker.l] takes a list of at most 64 queues, such as ["mail", { vhost = "jobs", name = "mail" }]; found an array (it has "q" of the virtual host "v" twice)"#]],
    );
    let many = (0..65).map(|n| format!("\"q{n}\"")).collect::<Vec<_>>().join(", ");
    bad(
        &format!("[worker.a]\nunit = \"a.service\"\namqp_url = \"amqp://h\"\nqueues = [{many}]\n"),
        expect![[
            r#"u.toml:4: queues in [worker.a] takes a list of at most 64 queues, such as ["mail", { vhost = "jobs", name = "mail" }]; found an array (it has 65)"#
        ]],
    );
}

#[test]
fn bad_hooks_and_plans() {
    bad(
        r#"
[defaults.plans]
memory_high = ["hook:drop"]
[defaults.hooks.drop]
command = ["drop"]
[worker.a]
unit = "a.service"
[worker.a.hooks.flush-cache]
command = ["/usr/bin/flush"]
timout = "30s"
timeout = "1h"
[worker.a.hooks.empty]
user = "a b"
[worker.a.hooks]
Loud.command = ["/bin/true"]
flat = 3
[worker.a.plans]
hung = ["hook:flush_cache"]
cpu_high = ["hook:x y"]
dead = ["scale_down"]
backlog_high = ["scale_up"]
no_consumer = ["connection_reset", "restart"]
[worker.b]
unit = "b@.service"
plans.backlog_high = ["scale_up"]
plans.dead = ["hook:flush"]
command = ["/bin/true"]
hook = 5
hooks = 5
[worker.c]
unit = "c-*.service"
max_instances = 3
plans.cpu_high = ["scale_up"]
"#,
        expect![[r#"
            u.toml:5: command in [defaults.hooks.drop] takes a list of 1 to 64 texts: a program with its absolute path, and its arguments; found an array (the program "drop" has no absolute path)
            u.toml:10: unknown key "timout" in [worker.a.hooks.flush-cache]; did you mean "timeout"?
            u.toml:11: timeout in [worker.a.hooks.flush-cache] takes a time span from 1s to 10min; found the string "1h"
            u.toml:12: [worker.a.hooks.empty] has no command; add, for example, command = ["/usr/bin/true"]
            u.toml:13: user in [worker.a.hooks.empty] takes the name of a user; found the string "a b"
            u.toml:15: hook name "Loud" in [worker.a] is not 1 to 26 characters of a-z, 0-9, - and _
            u.toml:16: [worker.a.hooks.flat] must be a table; found the number 3
            u.toml:18: plan hung of [worker.a] has "hook:flush_cache", but [worker.a] has no such hook; did you mean "hook:flush-cache"?
            u.toml:19: plan cpu_high of [worker.a] has "hook:x y"; the name of a hook has 1 to 26 characters of a-z, 0-9, - and _
            u.toml:20: plan dead of [worker.a] has "scale_down", which needs no plan: it happens by itself when there is less work
            u.toml:21: plan backlog_high of [worker.a] has "scale_up", which starts instances of a template, but unit in [worker.a] is a.service; set unit = "NAME@.service" and max_instances
            u.toml:22: plan no_consumer of [worker.a] has "connection_reset", which needs peers or amqp_url in [worker.a]
            u.toml:25: plan backlog_high of [worker.b] has "scale_up", which needs max_instances in [worker.b]
            u.toml:26: plan dead of [worker.b] has "hook:flush", but [worker.b] has no such hook; known are drop
            u.toml:27: unknown key "command" in [worker.b]; it belongs in [worker.NAME.hooks.HOOK]
            u.toml:28: unknown key "hook" in [worker.b]; did you mean "hooks"?
            u.toml:29: hooks in [worker.b] takes tables, one for each hook; found the number 5
            u.toml:33: plan cpu_high of [worker.c] has "scale_up", which starts instances of a template, but unit in [worker.c] is c-*.service; set unit = "NAME@.service" and max_instances"#]],
    );
}

#[test]
fn no_error_repeats_a_password() {
    for key in [
        "amqp_url",
        "management_url",
        "probe_http",
        "probe_tcp",
        "peers",
        "amqp_password",
        "amqp_password_file",
        "amqp_password_credential",
    ] {
        for value in [
            "\"amqp://u:secret@h/v\"",
            "\"http://u.example:secret@h.example\"",
            "\"u:secret@h:1\"",
            "[\"u:secret@h:1\"]",
        ] {
            let told = one(&format!("[worker.a]\nunit = \"a.service\"\n{key} = {value}\n")).unwrap_err().to_string();
            assert!(!told.contains("secret"), "{told}");
        }
    }
}
