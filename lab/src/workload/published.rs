//! Lengths without a trace: quantiles of the Azure 2023 traces (Azure/AzurePublicDataset, CC-BY 4.0; Patel et al.,
//! "Splitwise", ISCA 2024), with log-linear values between them. Means are within 2 % of the traces'. Prompt and output
//! are drawn apart: in the trace their correlation is -0.11.

use super::lengths::Generator;

/// Points of the quantiles below, 0-1.
const POINTS: [f64; 24] = [
    0.0, 0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.93, 0.95, 0.97, 0.98, 0.99,
    0.995, 0.999, 1.0,
];

/// Quantiles of one figure, tokens.
#[derive(Clone, Copy, Debug)]
pub(super) struct Table([f64; 24]);

const CONV_PROMPT: Table = Table([
    2.0, 91.0, 181.0, 207.0, 372.0, 387.0, 396.0, 403.0, 703.0, 1020.0, 1071.0, 1130.0, 1189.0, 1315.0, 1877.0, 2735.0,
    4076.0, 4083.0, 4090.0, 4098.0, 4142.0, 4831.0, 6212.0, 14050.0,
]);
const CONV_OUTPUT: Table = Table([
    7.0, 24.0, 41.0, 54.0, 67.0, 77.0, 85.0, 91.0, 103.0, 129.0, 177.0, 384.0, 395.0, 400.0, 411.0, 424.0, 433.0,
    451.0, 509.0, 540.0, 601.0, 644.0, 954.0, 1000.0,
]);
const CODE_PROMPT: Table = Table([
    3.0, 35.0, 75.0, 147.0, 232.0, 385.0, 578.0, 770.0, 1075.0, 1469.0, 1909.0, 2433.0, 2745.0, 3193.0, 3923.0, 5194.0,
    6194.0, 7315.0, 7435.0, 7436.0, 7436.0, 7436.0, 7437.0, 7437.0,
]);
const CODE_OUTPUT: Table = Table([
    6.0, 6.0, 6.0, 7.0, 7.0, 8.0, 9.0, 9.0, 11.0, 13.0, 16.0, 20.0, 24.0, 29.0, 39.0, 55.0, 72.0, 90.0, 128.0, 172.0,
    252.0, 361.0, 831.0, 1899.0,
]);

impl Table {
    /// Prompt and output of a generator that is made of tables.
    pub(super) fn of(generator: Generator) -> Option<[Table; 2]> {
        match generator {
            Generator::Azure2023Conv => Some([CONV_PROMPT, CONV_OUTPUT]),
            Generator::Azure2023Code => Some([CODE_PROMPT, CODE_OUTPUT]),
            Generator::MooncakeConversation => None,
        }
    }

    /// The value at a part of the requests, 0-1.
    pub(super) fn at(&self, part: f64) -> f64 {
        let next = POINTS.partition_point(|point| *point <= part).clamp(1, POINTS.len() - 1);
        let (low, high) = (self.0[next - 1], self.0[next]);
        let share = (part - POINTS[next - 1]) / (POINTS[next] - POINTS[next - 1]);
        low * (high / low).powf(share)
    }

    /// The mean of what [`Table::at`] gives.
    pub(super) fn mean(&self) -> f64 {
        let pieces = POINTS.windows(2).zip(self.0.windows(2));
        let mean = |low: f64, high: f64| if low == high { low } else { (high - low) / (high / low).ln() };
        pieces.map(|(points, values)| (points[1] - points[0]) * mean(values[0], values[1])).sum()
    }
}
