//! Limits and switches of the pipeline. Every field states its unit, its default and the reason for the number; what a
//! limit cuts off is counted by the stage that cuts.
