//! The sample workers: plain shell, each with a weakness of its own.

/// A unit of the sample: its file, and what it is, in a few words.
pub struct Sample {
    pub file: &'static str,
    pub start: &'static [&'static str],
    pub text: &'static str,
}

/// Works until it is told to die: SIGUSR1 ends it with 1, SIGUSR2 with 0, SIGTERM after the job in hand.
pub const PROGRAM: &str = "#!/bin/sh
# A worker that does nothing, in small jobs. It dies in the way that a signal asks for.
trap 'echo cannot go on >&2; exit 1' USR1
trap 'echo all done; exit 0' USR2
trap 'echo finishing the job in hand; sleep 1; exit 0' TERM
while :; do
	sleep 1 &
	wait $!
done
";

pub const PROGRAM_PATH: &str = "/usr/local/bin/worker";
pub const PARSER_CONFIG: &str = "/etc/parser.conf";

pub const SAMPLES: &[Sample] = &[
    plain("mail.service", &["mail.service"]),
    plain("import.service", &["import.service"]),
    plain("sync.service", &["sync.service"]),
    plain("task@.service", &["task@1.service", "task@2.service", "task@3.service"]),
    Sample {
        file: "web.service",
        start: &["web.service"],
        text: "[Service]\nExecStart=/usr/local/bin/worker\nRestart=always\nRestartSec=300ms\n",
    },
    Sample {
        file: "index.service",
        start: &["index.service"],
        text: "[Service]\nExecStartPre=sleep 3\nExecStart=/usr/local/bin/worker\n",
    },
    Sample {
        file: "parser.service",
        start: &["parser.service"],
        text: "[Unit]\nStartLimitIntervalSec=10s\nStartLimitBurst=2\n\n[Service]\n\
               ExecStartPre=test -e /etc/parser.conf\nExecStart=/usr/local/bin/worker\n\
               Restart=on-failure\nRestartSec=200ms\n",
    },
    plain("report.service", &["report.service"]),
    plain("feed.service", &["feed.service"]),
    plain("queue.service", &["queue.service"]),
    plain("archive.service", &["archive.service"]),
];

/// Nobody but unitmedic restarts it.
const fn plain(file: &'static str, start: &'static [&'static str]) -> Sample {
    Sample { file, start, text: "[Service]\nExecStart=/usr/local/bin/worker\n" }
}

/// One worker for each sample. The spans are short so that the demo is. On an emulated processor everybody waits for
/// CPU all the time, which is not what is shown here.
pub fn config(listen: &str, emulated: bool) -> String {
    let (interval, pressure) = if emulated { ("10s", "pressure_threshold = 100\n") } else { ("2s", "") };
    let mut text = format!(
        "[daemon]\nlisten = \"{listen}\"\nhealth_check_interval = \"{interval}\"\n\n[defaults]\nbackoff = \"1s\"\n\
         verify_dead_for = \"2s\"\nverify_for = \"2s\"\n{pressure}"
    );
    for sample in SAMPLES {
        let name = sample.file.trim_end_matches(".service").trim_end_matches('@');
        text += &format!("\n[worker.{name}]\nunit = \"{}\"\n", sample.file);
        if sample.start.len() > 1 {
            text += &format!("min_instances = {}\n", sample.start.len());
        }
    }
    text
}

/// Every unit, in the order in which they are shown.
pub fn units() -> impl Iterator<Item = &'static str> {
    SAMPLES.iter().flat_map(|sample| sample.start.iter().copied())
}

/// A worker's place among the samples.
pub fn place_of(worker: &str) -> usize {
    let is_it = |file: &str| file.trim_end_matches(".service").trim_end_matches('@') == worker;
    SAMPLES.iter().position(|sample| is_it(sample.file)).unwrap_or(SAMPLES.len())
}
