//! The kinds of joins, by what becomes of each side's rows.

/// A side of a join.
#[derive(Debug, Clone, Copy, PartialEq, Eq, bincode::Encode, bincode::Decode)]
pub enum JoinSide {
    /// Port 0.
    Left,
    /// Port 1.
    Right,
}

/// A kind of join, as SQL names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, bincode::Encode, bincode::Decode)]
pub enum JoinKind {
    /// Pairs alone.
    Inner,
    /// Pairs, and left rows without a partner beside NULLs.
    Left,
    /// Pairs, and right rows without a partner beside NULLs.
    Right,
    /// Pairs, and rows of both sides without a partner beside NULLs.
    Full,
    /// Left rows with a partner, once and alone.
    LeftSemi,
    /// Left rows without a partner, alone.
    LeftAnti,
    /// Right rows with a partner, once and alone.
    RightSemi,
    /// Right rows without a partner, alone.
    RightAnti,
}

impl JoinKind {
    /// Whether the output has both sides' columns; else it has those of [`JoinKind::single_side`].
    #[must_use]
    pub fn pairs(self) -> bool {
        self.single_side().is_none()
    }

    /// The side whose columns alone are the output, for semi and anti joins.
    #[must_use]
    pub fn single_side(self) -> Option<JoinSide> {
        match self {
            Self::LeftSemi | Self::LeftAnti => Some(JoinSide::Left),
            Self::RightSemi | Self::RightAnti => Some(JoinSide::Right),
            Self::Inner | Self::Left | Self::Right | Self::Full => None,
        }
    }

    /// Whether rows of a side that have no partner are in the output.
    #[must_use]
    pub fn keeps_unmatched(self, side: JoinSide) -> bool {
        match self {
            Self::Inner | Self::LeftSemi | Self::RightSemi => false,
            Self::Left | Self::LeftAnti => side == JoinSide::Left,
            Self::Right | Self::RightAnti => side == JoinSide::Right,
            Self::Full => true,
        }
    }

    /// Whether a side's columns may be NULL because the other side's row has no partner.
    #[must_use]
    pub fn pads(self, side: JoinSide) -> bool {
        match side {
            JoinSide::Left => matches!(self, Self::Right | Self::Full),
            JoinSide::Right => matches!(self, Self::Left | Self::Full),
        }
    }

    /// The name in EXPLAIN; an inner join needs none.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Inner => "inner",
            Self::Left => "left",
            Self::Right => "right",
            Self::Full => "full",
            Self::LeftSemi => "left semi",
            Self::LeftAnti => "left anti",
            Self::RightSemi => "right semi",
            Self::RightAnti => "right anti",
        }
    }
}
