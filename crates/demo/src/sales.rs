//! Sales: what the records say, what a sale earns, and made-up ones that look real.
//!
//! Money is whole cents, always. Deliberately not here: who reads and writes them.

use serde::{Deserialize, Serialize};

const STORES: [&str; 6] = ["Aachen", "Bergen", "Cork", "Delft", "Espoo", "Faro"];
/// What a piece costs, in cents.
const PRICES_CENTS: [u64; 8] = [1177, 1249, 1399, 1499, 1677, 1999, 2450, 2997];
const FIRST_DAY: u64 = 20_515; // 2026-03-03, in days since 1970

/// One sale, as a record's value carries it in JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sale {
    /// Counted from 1.
    pub sale_id: i64,
    /// `YYYY-MM-DD`.
    #[serde(default)]
    pub date: String,
    /// Where.
    #[serde(default)]
    pub store: String,
    /// Who bought; the record's key.
    pub customer: String,
    /// How many pieces.
    #[serde(default)]
    pub quantity: i64,
    /// What was paid.
    pub amount_cents: i64,
}

/// 5 % of an amount, rounded half up.
#[must_use]
pub fn commission_cents(amount_cents: i64) -> i64 {
    (amount_cents * 5 + 50).div_euclid(100)
}

/// Makes up sales, numbered from `first_id`, always the same ones for one seed. A customer buys about three times.
#[must_use]
pub fn generate(first_id: i64, count: u64, seed: u64) -> Vec<Sale> {
    let sale = |(sale_id, n): (i64, u64)| {
        let pick = |what: u64, below: u64| scattered(seed, n * 8 + what) % below;
        let customer = pick(0, (count / 3).max(1)) + 1;
        let quantity = 1 + pick(1, 3) * pick(2, 2);
        let price = PRICES_CENTS[pick(3, PRICES_CENTS.len() as u64) as usize];
        Sale {
            sale_id,
            date: date(FIRST_DAY + n * 365 / count.max(365)),
            store: STORES[pick(4, STORES.len() as u64) as usize].to_owned(),
            customer: format!("{customer:05}"),
            quantity: quantity as i64,
            amount_cents: (quantity * price) as i64,
        }
    };
    (first_id..).zip(0..count).map(sale).collect()
}

/// A number that looks random and is always the same: the last step of SplitMix64.
fn scattered(seed: u64, n: u64) -> u64 {
    let mut z = seed.wrapping_add(n.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The date of a day, counted from 1970-01-01, in the calendar of today (eras of 400 years that begin in March).
fn date(day: u64) -> String {
    let shifted = day + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!("{year}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_commission_is_rounded_half_up() {
        for (amount, commission) in [(0, 0), (9, 0), (10, 1), (1177, 59), (1190, 60), (30, 2), (29, 1)] {
            assert_eq!(commission_cents(amount), commission, "{amount}");
        }
    }

    #[test]
    fn days_have_their_dates() {
        let dates = [(0, "1970-01-01"), (11_016, "2000-02-29"), (FIRST_DAY, "2026-03-03"), (20_819, "2027-01-01")];
        assert_eq!(dates.map(|(day, _)| date(day)), dates.map(|(_, text)| text.to_owned()));
    }

    #[test]
    fn made_up_sales_are_the_same_for_a_seed_and_look_real() {
        let sales = generate(1, 300, 7);
        assert_eq!(sales, generate(1, 300, 7));
        assert_ne!(sales, generate(1, 300, 8));
        assert_eq!(sales.iter().map(|sale| sale.sale_id).collect::<Vec<_>>(), (1..=300).collect::<Vec<_>>());
        assert!(sales.is_sorted_by_key(|sale| &sale.date), "in the order in which they happened");
        assert!(sales.iter().all(|sale| sale.amount_cents >= 1177 && (1..=3).contains(&sale.quantity)));
        let customers: BTreeSet<_> = sales.iter().map(|sale| &sale.customer).collect();
        assert!((50..=100).contains(&customers.len()), "{}", customers.len());
    }
}
