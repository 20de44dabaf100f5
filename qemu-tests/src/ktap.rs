//! KTAP
