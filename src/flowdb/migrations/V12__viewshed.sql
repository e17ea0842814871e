-- Which pixels can be seen along each sightline of a table: those steeper than everything nearer on the same line.
CREATE FUNCTION public.viewshed(_tbl regclass)
RETURNS TABLE (
    location_id text,
    geom_point public.geometry,
    od_line_identifier text,
    geom_viewshed public.geometry,
    visible boolean
)
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = public, pg_temp
AS $$
BEGIN
    RETURN QUERY EXECUTE format(
        'SELECT s.location_id::text, s.geom_point::geometry, s.od_line_identifier::text, s.geom::geometry,
                coalesce(s.slope > max(s.slope) OVER nearer, s.slope IS NOT NULL)
         FROM %s s
         WINDOW nearer AS (PARTITION BY s.od_line_identifier ORDER BY s.distance
                           ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)', _tbl);
END
$$;
