"""`h3d bench`: what this program costs, measured, beside what the machine can do and what its peers take.

`verb` is the command; `workloads` the table of what is measured; `peer_*` what others do with the same scene in the
same run, as ratios: how many times as fast this program is; `metrics` the values and how a time is taken;
`calibration` what the machine can do; `baseline` the committed numbers and the gate; `report` the printed tables.
"""
