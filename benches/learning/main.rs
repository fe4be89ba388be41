//! What is learned, against labelled data and against the truth of simulations: `make bench-learning`.
//!
//! `-- patterns` and so on measure one part only.

#[path = "../report/report.rs"]
mod report;

mod desk;
mod forecast;
mod patterns;
mod rng;
mod strategies;
mod unusual;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let wanted = |part: &str| arguments.is_empty() || arguments.iter().any(|argument| argument == part);
    let mut rows = Vec::new();
    if wanted("patterns") {
        rows.extend(patterns::measure());
    }
    if wanted("patterns") || wanted("desk") {
        rows.extend(desk::measure());
    }
    if wanted("strategies") {
        rows.extend(strategies::measure());
    }
    if wanted("forecast") {
        rows.extend(forecast::measure());
    }
    if wanted("unusual") {
        rows.extend(unusual::measure());
    }
    report::publish(&rows);
}
