//! Suites.

pub mod vm;
