//! Suites, and what they need.

pub mod sim;
pub mod tcmu;
pub mod vm;
