//! Rules of the house that no compiler keeps, and the program from the outside.
//!
//! Each rule is a function from text to complaints, so that it can be shown to find a break; see the self-tests
//! beside each.

mod alerts;
mod architecture;
mod dashboards;
mod documents;
mod program;
mod repository;
mod source;

fn complain(complaints: impl IntoIterator<Item = String>) {
    let complaints: Vec<String> = complaints.into_iter().collect();
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}
