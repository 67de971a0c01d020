//! Prices against hand-made endpoints.
