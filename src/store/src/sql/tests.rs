//! Tests of what is seen only from inside: plans of queries.
