//! Suites.

pub mod sim;
pub mod vm;
