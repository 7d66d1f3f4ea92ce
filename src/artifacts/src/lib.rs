//! Files out: streams files of an attempt to object storage, with size and digest.
