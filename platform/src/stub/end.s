// Where a copy may fault, and where the stub goes on then: distances from the start.
.balign 4
cofferdam_free_copies:
.macro copies at, on
  .short \at - cofferdam_free_start, \on - cofferdam_free_start
.endm
  copies cofferdam_free_copy_in, cofferdam_free_copied_in
  copies cofferdam_free_copy_string, cofferdam_free_copied_in
  copies cofferdam_free_probe_first, cofferdam_free_probed
  copies cofferdam_free_probe_last, cofferdam_free_probed
  copies cofferdam_free_copy_out, cofferdam_free_copied_out
  copies cofferdam_free_zero, cofferdam_free_unknown
  copies cofferdam_free_path, cofferdam_free_unknown
  copies cofferdam_free_stat, cofferdam_free_unknown
  copies cofferdam_free_ring_read, cofferdam_free_unknown
  copies cofferdam_free_ring_read_on, cofferdam_free_unknown
  copies cofferdam_free_ring_write, cofferdam_free_unknown
  copies cofferdam_free_ring_write_on, cofferdam_free_unknown
  copies cofferdam_free_ring_1, cofferdam_free_unknown
  copies cofferdam_free_ring_2, cofferdam_free_unknown
  copies cofferdam_free_ring_3, cofferdam_free_unknown
  copies cofferdam_free_ring_4, cofferdam_free_unknown
  copies cofferdam_free_ring_5, cofferdam_free_unknown
  copies cofferdam_free_ring_6, cofferdam_free_unknown
  copies cofferdam_free_ring_7, cofferdam_free_unknown
  .short 0
.global cofferdam_free_end
cofferdam_free_end:
.popsection
