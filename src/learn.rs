//! What is learned from what happened. Pure, like the engine: it is told, and never looks at the world itself.

pub mod advice;
pub mod book;
pub mod chance;
pub mod forecast;
pub mod mask;
pub mod patterns;
pub mod similar;
pub mod strategies;
pub mod trace;
pub mod unusual;
