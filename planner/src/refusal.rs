//! What DataFusion cannot do, in words, and what to write instead.

/// A part of DataFusion's message, ours, and the hint.
const REFUSALS: &[(&str, &str, &str)] = &[
    (
        "does not support logical expression ScalarSubquery",
        "a sub-query that gives one value uses a column from around it otherwise than by `=`, or with LIMIT",
        "write a join, or compare with = and take max() or min(): (SELECT max(x) FROM … WHERE a = b)",
    ),
    (
        "Scalar subquery should only return one column",
        "a sub-query that gives one value has several columns",
        "name one column in it",
    ),
    (
        "Too many columns! The subquery should only return one column",
        "a row is not compared with what a sub-query gives",
        "write EXISTS (SELECT 1 FROM … WHERE a = x AND b = y)",
    ),
    (
        "have the same name. Consider aliasing",
        "two columns of the result have the same name",
        "give one another name, as in max(uid) AS highest",
    ),
    (
        "duplicate unqualified field name",
        "two columns of the result have the same name",
        "give one another name, as in max(uid) AS highest, in a sub-query of its own",
    ),
    (
        "onflicting ordering requirements",
        "aggregates of one SELECT want their rows in different orders",
        "write one SELECT for each order, and join them",
    ),
    (
        "does not satisfy order requirements",
        "a window cannot be ordered or divided by what is computed and compared, such as length(name) > 4",
        "compute it in a sub-query: SELECT … OVER (ORDER BY long) FROM (SELECT name, length(name) > 4 AS long FROM …) t",
    ),
    (
        "Multiple recursive references to the same CTE",
        "WITH RECURSIVE names itself more than once in one query",
        "name it once, and join what it gives afterwards",
    ),
    (
        "does not support logical expression InSubquery",
        "IN (SELECT …) stands where it cannot be decided",
        "put it into WHERE or HAVING, or write a join",
    ),
    (
        "does not support logical expression Exists",
        "EXISTS (SELECT …) stands where it cannot be decided",
        "put it into WHERE or HAVING, or write a join",
    ),
];

/// Our message and hint for one of DataFusion's.
pub fn of(message: &str) -> Option<(&'static str, &'static str)> {
    let known = REFUSALS.iter().find(|(part, ..)| message.contains(part))?;
    Some((known.1, known.2))
}
