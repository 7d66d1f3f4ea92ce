//! The real router over the store in memory.
