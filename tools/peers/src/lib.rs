//! Other embedded stores behind one small trait.
