//! A scan's filter, compiled against a table's columns.
