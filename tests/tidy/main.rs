//! Rules of this code base that neither the compiler nor clippy can hold. Each exception names
//! its reason, and one that is not needed any more is an error too.

mod boundaries;
mod sizes;
mod sources;
