//! Any event of any type, with anything in it: written and read it is the same, it folds in any
//! state, it can be told in a sentence, and it holds nothing personal.

mod arbitrary;
mod bytes;
mod folds;
