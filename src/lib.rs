//! unitmedic keeps the workers of a systemd host alive and well.
//!
//! Modules in reading order: the words, the pure core that decides, the edges that touch the world, and what
//! puts them together.

pub mod model;

pub mod learn;

pub mod engine;

pub mod config;

pub mod adapters;
pub mod helper;
pub mod views;

pub mod app;
pub mod cli;
