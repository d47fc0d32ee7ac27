//! One file for each way of going through memory; a loss is a formula that one of them carries out.

pub mod pointwise;
