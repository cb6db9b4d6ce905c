//! The last thing that was read of the store whole, kept for whoever needs the same again.
//!
//! A fleet of thousands costs a hundred milliseconds to read. Whoever puts it here knows by what number of a counter it
//! was read, and whoever takes it compares that in a transaction of his own.

use std::{
    any::Any,
    sync::{Arc, Mutex, PoisonError},
};

/// Keeps one value; the next takes its place.
#[derive(Debug, Default)]
pub(crate) struct Memo(Mutex<Option<Arc<dyn Any + Send + Sync>>>);

impl Memo {
    /// Returns what was kept, if it is of this type.
    pub(crate) fn get<T: Any + Send + Sync>(&self) -> Option<Arc<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()?.downcast().ok()
    }

    /// Keeps a value.
    pub(crate) fn set<T: Any + Send + Sync>(&self, value: Arc<T>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(value);
    }

    /// Forgets what was kept, so that whoever holds it last may change it in place.
    pub(crate) fn clear(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}
