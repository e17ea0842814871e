//! The types of file.

/// A type of file that a result can be had as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// Upstream's object around the rows, each an object: `{"query_id":"…", "query_result":[{…}, {…}]}`.
    Json,
    /// A header line and a line a row, each ended by CR LF; nothing at all where there are no rows.
    Csv,
    /// A feature collection of a result whose columns are a feature's members: `type`, `id`, `geometry`, `properties`.
    GeoJson,
    /// Arrow's IPC file, also known as Feather 2.
    Arrow,
    /// Parquet, compressed with zstd.
    Parquet,
    /// GeoParquet 1.1 of a result as for [`Format::GeoJson`]: its geometries as WKB, a column for each property.
    GeoParquet,
    /// FlatGeobuf of the same, without an index. A file that was torn and kept looks like a shorter one, as of [`Format::Csv`].
    FlatGeobuf,
}

impl Format {
    /// All there are.
    pub const ALL: [Format; 7] = [
        Format::Json,
        Format::Csv,
        Format::GeoJson,
        Format::Arrow,
        Format::Parquet,
        Format::GeoParquet,
        Format::FlatGeobuf,
    ];

    /// The type that goes by an extension, given without its dot and in lower case.
    pub fn from_extension(extension: &str) -> Option<Format> {
        Format::ALL.into_iter().find(|format| format.extension() == extension)
    }

    /// How names of such files end, without the dot.
    pub fn extension(self) -> &'static str {
        match self {
            Format::Json => "json",
            Format::Csv => "csv",
            Format::GeoJson => "geojson",
            Format::Arrow => "arrow",
            Format::Parquet => "parquet",
            Format::GeoParquet => "geoparquet",
            Format::FlatGeobuf => "fgb",
        }
    }

    /// The value of `Content-Type`.
    pub fn content_type(self) -> &'static str {
        match self {
            Format::Json => "application/json",
            Format::Csv => "text/csv",
            Format::GeoJson => "application/geo+json",
            Format::Arrow => "application/vnd.apache.arrow.file",
            Format::Parquet | Format::GeoParquet => "application/vnd.apache.parquet",
            // Not registered yet; what servers of such files say.
            Format::FlatGeobuf => "application/flatgeobuf",
        }
    }

    /// Whether the query has to be the one for geography: a feature a row (`get_geo_sql_for_query_result`).
    pub fn is_geographic(self) -> bool {
        match self {
            Format::GeoJson | Format::GeoParquet | Format::FlatGeobuf => true,
            Format::Json | Format::Csv | Format::Arrow | Format::Parquet => false,
        }
    }
}
