-- Of every step, the import that said its value last: files come in any order, and which of two goes
-- before the other must not depend on it. When a file was written, its import says, so that days
-- need no date of their own.

ALTER TABLE curve_day ADD COLUMN said_by TEXT;
-- Numbers of imports over equal parts of the day, with commas between; NULL: all by `version`.

-- Of days that more than one import changed: in each step, the first since which it is as it is now.
UPDATE curve_day AS d SET said_by = (
    WITH RECURSIVE step (n) AS (
        SELECT 0 UNION ALL SELECT n + 1 FROM step WHERE n + 1 < length(d.quality)
    )
    SELECT group_concat(number, ',') FROM (
        SELECT (
            SELECT min(v.version) FROM curve_day AS v
            WHERE v.point_id = d.point_id AND v.direction = d.direction AND v.day_s = d.day_s
              AND v.version > coalesce((
                SELECT max(o.version) FROM curve_day AS o
                WHERE o.point_id = d.point_id AND o.direction = d.direction
                  AND o.day_s = d.day_s AND o.version < d.version
                  AND (length(o.quality) <> length(d.quality)
                    OR substr(o.quality, step.n + 1, 1) <> substr(d.quality, step.n + 1, 1)
                    OR substr(o.watt_minutes, 8 * step.n + 1, 8)
                        <> substr(d.watt_minutes, 8 * step.n + 1, 8))), 0)
        ) AS number FROM step ORDER BY step.n
    )
)
WHERE EXISTS (
    SELECT 1 FROM curve_day AS o
    WHERE o.point_id = d.point_id AND o.direction = d.direction AND o.day_s = d.day_s
      AND o.version < d.version
) AND NOT EXISTS (
    SELECT 1 FROM curve_day AS n
    WHERE n.point_id = d.point_id AND n.direction = d.direction AND n.day_s = d.day_s
      AND n.version > d.version
);

ALTER TABLE curve_day DROP COLUMN published_s;
