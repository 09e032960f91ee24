"""Safe file access: atomic writes, no following of other users' links, bounded reads, and JSON."""

from hpo_batch.files.folders import copy_folder as copy_folder
from hpo_batch.files.folders import folder_below as folder_below
from hpo_batch.files.folders import make_real_folder as make_real_folder
from hpo_batch.files.folders import remove_if_bare as remove_if_bare
from hpo_batch.files.json_text import JsonLines as JsonLines
from hpo_batch.files.json_text import append_json_line as append_json_line
from hpo_batch.files.json_text import decode as decode
from hpo_batch.files.json_text import dump_json as dump_json
from hpo_batch.files.json_text import loads as loads
from hpo_batch.files.json_text import read_json_lines as read_json_lines
from hpo_batch.files.json_text import shown_json as shown_json
from hpo_batch.files.new_files import write_files as write_files
from hpo_batch.files.regular import DOCUMENT_BYTES as DOCUMENT_BYTES
from hpo_batch.files.regular import LINES_BYTES as LINES_BYTES
from hpo_batch.files.regular import OddFile as OddFile
from hpo_batch.files.regular import append_text as append_text
from hpo_batch.files.regular import open_regular as open_regular
from hpo_batch.files.regular import read_regular as read_regular
from hpo_batch.files.regular import unlink_if_empty as unlink_if_empty
from hpo_batch.files.write import sync_directory as sync_directory
from hpo_batch.files.write import write_atomic as write_atomic
from hpo_batch.files.write import write_new as write_new
