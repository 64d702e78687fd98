//!

pub mod btf;
pub mod preflight;
