"""Files: written whole, and read as data that nobody vouches for (docs/files.md).

Every reader bounds what it takes from headers and directories before it reads, and says with one
StorageError what is wrong where.
"""

from hwsim.files.arrays import ArraySpec, read_array, read_arrays
from hwsim.files.documents import (
    Count,
    Document,
    Format,
    Sha256,
    Share,
    Version1,
    Version2,
    parse_json,
    read_json,
)
from hwsim.files.paths import (
    RelativePath,
    inside,
    named,
    read_bytes,
    read_text,
    remove,
    whole_file,
    write_json,
    write_text,
)

__all__ = [
    "ArraySpec",
    "Count",
    "Document",
    "Format",
    "RelativePath",
    "Sha256",
    "Share",
    "Version1",
    "Version2",
    "inside",
    "named",
    "parse_json",
    "read_array",
    "read_arrays",
    "read_bytes",
    "read_json",
    "read_text",
    "remove",
    "whole_file",
    "write_json",
    "write_text",
]
