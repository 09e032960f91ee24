"""Starts, identifies, signals and ends processes. The only package that runs other programs.

``forks`` is imported where it is used, since few workers fork.
"""

from hpo_batch.processes.ending import Proven as Proven
from hpo_batch.processes.ending import become_sleeper as become_sleeper
from hpo_batch.processes.ending import end_descendants as end_descendants
from hpo_batch.processes.ending import end_with_descendants as end_with_descendants
from hpo_batch.processes.ending import kill as kill
from hpo_batch.processes.ending import kill_unless as kill_unless
from hpo_batch.processes.ending import prove as prove
from hpo_batch.processes.ending import send as send
from hpo_batch.processes.identities import boot_id as boot_id
from hpo_batch.processes.identities import host_name as host_name
from hpo_batch.processes.identities import identity as identity
from hpo_batch.processes.identities import is_dead_here as is_dead_here
from hpo_batch.processes.identities import is_from_here as is_from_here
from hpo_batch.processes.identities import pid_namespace as pid_namespace
from hpo_batch.processes.proc import catches as catches
from hpo_batch.processes.proc import descendants as descendants
from hpo_batch.processes.proc import family as family
from hpo_batch.processes.proc import group_of as group_of
from hpo_batch.processes.proc import is_alive as is_alive
from hpo_batch.processes.proc import is_number as is_number
from hpo_batch.processes.proc import is_saving as is_saving
from hpo_batch.processes.proc import started_at as started_at
from hpo_batch.processes.proc import stat_fields as stat_fields
from hpo_batch.processes.proc import with_environment as with_environment
from hpo_batch.processes.proc import written_by as written_by
from hpo_batch.processes.programs import Completed as Completed
from hpo_batch.processes.programs import Process as Process
from hpo_batch.processes.programs import exists as exists
from hpo_batch.processes.programs import reap_in_background as reap_in_background
from hpo_batch.processes.programs import run as run
from hpo_batch.processes.programs import signal_group as signal_group
from hpo_batch.processes.programs import start as start
from hpo_batch.processes.programs import wait as wait
from hpo_batch.processes.signals import end_with_parent as end_with_parent
from hpo_batch.processes.signals import ended_in_order as ended_in_order
from hpo_batch.processes.signals import not_interrupted as not_interrupted
