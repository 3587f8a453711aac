//! Every function that SQL can call, and whether its results repeat.
//!
//! A function that is on no list has not been looked at; a test names it, so that an upgrade of
//! DataFusion brings none in unseen.

/// Functions that are refused, and what to use instead.
const REFUSED: [(&str, &str); 8] = [
    ("arrow_metadata", "a column's metadata is not pinned; write the value out"),
    ("version", "it names the engine, and changes with every upgrade; write the value out"),
    ("input_file_name", "a view reads rows, not files; take the name in with the rows"),
    ("file_row_index", "a view reads rows, not files; take the number in with the rows"),
    ("any_value", "use min(x), or first_value(x ORDER BY y), which say which value it is"),
    ("approx_distinct", "use count(DISTINCT x), which is exact and kept up to date"),
    ("approx_median", "use median(x), which is exact"),
    ("approx_percentile_cont", "use percentile_cont(p) WITHIN GROUP (ORDER BY x), which is exact"),
];
/// Refused for the same reason as the one whose name it begins with.
const WEIGHTED_PERCENTILE: &str = "approx_percentile_cont_with_weight";

/// Why `name` is refused, and what to use instead; `None` if it is not.
pub(crate) fn refusal(name: &str) -> Option<(&'static str, &'static str)> {
    let listed = if name == WEIGHTED_PERCENTILE { "approx_percentile_cont" } else { name };
    let (_, hint) = REFUSED.iter().find(|(refused, _)| *refused == listed)?;
    let reason = match listed {
        "any_value" => "depends on the order in which rows come",
        _ if listed.starts_with("approx_") => "depends on the order in which rows come",
        _ => "does not follow from the rows",
    };
    Some((reason, hint))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::functions::{aggregates, math, now, random};
    use crate::sql::Session;

    /// Of these the result follows from the arguments alone, by whole numbers, by text, by
    /// operations of IEEE 754, or by tables that are compiled in.
    const SCALAR: &str = "
        abs array_add array_any_match array_any_value array_append array_avg array_compact
        array_concat array_dims array_distance array_distinct array_element array_except array_filter
        array_has array_has_all array_has_any array_intersect array_length array_max array_min
        array_ndims array_normalize array_pop_back array_pop_front array_position array_positions
        array_prepend array_product array_remove array_remove_all array_remove_n array_repeat
        array_replace array_replace_all array_replace_n array_resize array_reverse array_scale
        array_slice array_sort array_subtract array_sum array_to_string array_transform array_union
        arrays_zip arrow_cast arrow_field arrow_try_cast arrow_typeof ascii bit_length btrim
        cardinality cast_to_type ceil character_length chr coalesce concat concat_ws contains
        cosine_distance date_bin date_part date_trunc decode degrees digest empty encode ends_with
        factorial find_in_set flatten floor from_unixtime gcd generate_series get_field greatest
        initcap inner_product isnan iszero lcm least left levenshtein lower lpad ltrim make_array
        make_date make_time map map_entries map_extract map_keys map_values md5 named_struct nanvl
        nullif nvl nvl2 octet_length overlay pi radians range regexp_count regexp_instr regexp_like
        regexp_match regexp_replace repeat replace reverse right round row rpad rtrim sha224 sha256
        sha384 sha512 signum split_part starts_with string_to_array strpos struct substr
        substr_index to_char to_date to_hex to_local_time to_time to_timestamp to_timestamp_micros
        to_timestamp_millis to_timestamp_nanos to_timestamp_seconds to_unixtime translate trunc
        try_cast_to_type union_extract union_tag upper with_metadata";

    /// Of these the result follows from the rows, or from the rows in an order that is made total.
    /// (`median` and `percentile_cont` sort; sets of bits and truth values have no order.)
    const AGGREGATE: &str = "
        array_agg bit_and bit_or bit_xor bool_and bool_or count first_value grouping last_value median
        nth_value percentile_cont regr_count string_agg";

    const WINDOW: &str = "
        cume_dist dense_rank first_value lag last_value lead nth_value ntile percent_rank rank
        row_number session_end session_start";

    /// Those that are neither on `list`, nor replaced, nor refused.
    fn unseen(
        names: impl IntoIterator<Item = String>,
        list: &str,
        replaced: &BTreeSet<String>,
    ) -> Vec<String> {
        let list: BTreeSet<&str> = list.split_whitespace().collect();
        let is_seen = |name: &String| {
            list.contains(name.as_str()) || replaced.contains(name) || refusal(name).is_some()
        };
        names.into_iter().filter(|name| !is_seen(name)).collect()
    }

    #[test]
    #[allow(clippy::disallowed_methods, reason = "collected into sets that are in order")]
    fn every_function_has_been_looked_at() {
        let state = Session::new(0).state();
        let ours = math::pinned_functions().into_iter().chain(now::clock_functions());
        let ours: Vec<_> = ours.chain(random::random_functions()).collect();
        // By whatever name it is called: DataFusion's own may have more of them.
        let not_ours = state.scalar_functions().iter().filter(|(_, function)| {
            let ours = ours.iter().find(|ours| ours.name() == function.name());
            ours.is_some_and(|ours| ours != &***function)
        });
        assert_eq!(not_ours.map(|(called, _)| called).collect::<Vec<_>>(), [""; 0]);
        let scalars = ours.iter().map(|function| function.name().to_owned()).collect();
        let ours = aggregates::exact_aggregates();
        let not_ours = state.aggregate_functions().iter().filter(|(_, function)| {
            let ours = ours.iter().find(|ours| ours.name() == function.name());
            ours.is_some_and(|ours| ours != &***function)
        });
        assert_eq!(not_ours.map(|(called, _)| called).collect::<Vec<_>>(), [""; 0]);
        let aggregates = ours.iter().map(|function| function.name().to_owned()).collect();
        // By their own names: aliases mean the same.
        let names = state.scalar_functions().values().map(|of| of.name().to_owned());
        let none: Vec<String> = Vec::new();
        assert_eq!(unseen(names.collect::<BTreeSet<_>>(), SCALAR, &scalars), none);
        let names = state.aggregate_functions().values().map(|of| of.name().to_owned());
        assert_eq!(unseen(names.collect::<BTreeSet<_>>(), AGGREGATE, &aggregates), none);
        let names = state.window_functions().values().map(|of| of.name().to_owned());
        assert_eq!(unseen(names.collect::<BTreeSet<_>>(), WINDOW, &BTreeSet::new()), none);
    }

    #[test]
    fn refused_functions_say_what_to_use() {
        for (sql, expect) in [
            ("SELECT approx_median(x) AS m FROM (VALUES (1), (2)) AS t(x)", "median(x)"),
            ("SELECT approx_distinct(x) AS m FROM (VALUES (1), (2)) AS t(x)", "count(DISTINCT x)"),
            ("SELECT any_value(x) AS m FROM (VALUES (1), (2)) AS t(x)", "min(x)"),
            ("SELECT any_value(x) OVER () AS m FROM (VALUES (1), (2)) AS t(x)", "min(x)"),
            ("SELECT version() AS m", "write the value out"),
        ] {
            let error = Session::new(0).plan("v", sql).map(|_| ()).err();
            let hint = error.and_then(|error| error.hint).unwrap_or_default();
            assert!(hint.contains(expect), "{sql}: {hint}");
        }
    }
}
