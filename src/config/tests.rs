//! Tables of bad inputs and the exact words that come back.
