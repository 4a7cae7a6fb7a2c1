//! Makes a row of each element of a list, and columns of a struct's fields.

/// Unnests lists and structs. Several lists go side by side: a row has as many rows as its longest list
/// has elements, and a shorter one is filled up with NULLs.
#[derive(Debug, Clone, PartialEq, bincode::Encode, bincode::Decode)]
pub struct UnnestNode {
    /// The output's columns, without the changelog column.
    pub columns: Vec<UnnestColumn>,
    /// Whether a row whose lists are all NULL or empty stays, with NULL for the element.
    pub keeps_empty: bool,
}

/// A column of the output, from one of the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, bincode::Encode, bincode::Decode)]
pub enum UnnestColumn {
    /// As it is, once for each row that the input's row becomes.
    Passed(usize),
    /// The elements of a list.
    Elements(usize),
    /// A field of a struct.
    Field {
        /// The struct's column.
        column: usize,
        /// Which of its fields.
        field: usize,
    },
}
