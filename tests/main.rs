//! Whole-system tests: the real binary, real sockets, a real file system. One scenario per file,
//! named as a sentence; `harness` starts and stops nodes.
//!
//! They are one binary because linking takes longer than running; one scenario alone:
//! `cargo test -p uringmq --test system long_poll`.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod harness;

mod a_container_profile_is_enough;
mod a_device_is_tuned_then_served;
mod a_disk_past_its_mark_loses_the_oldest;
mod a_follower_sees_all_of_it_once;
mod a_long_log_takes_few_descriptors;
mod a_lost_tail_is_told;
mod a_node_is_watched;
mod a_node_that_is_silent_is_not_ready;
mod a_stalled_device_makes_no_good_end;
mod a_vanished_segment_stops_nobody;
mod bad_batch_gets_an_answer;
mod bad_frame_gets_an_answer;
mod bad_place_gets_an_answer;
mod bench_refuses_what_cannot_be_measured;
mod bench_reports_what_it_measured;
mod consume_ends_when_told;
mod directory_that_vanishes_acknowledges_nothing;
mod disk_full;
mod doctor_says_what_is_wrong;
mod drain_on_sigterm_loses_nothing;
mod dump_shows_what_was_produced;
mod examples_run;
mod foreign_or_newer_directory_is_refused;
mod group_resumes_after_kill_9;
mod hostile_clients_are_kept_at_bay;
mod index_is_checked_and_made_again;
mod kill_9_keeps_what_was_acknowledged;
mod long_poll_wakes;
mod messages_are_found_by_key;
mod messages_travel_whole;
mod metrics_and_health;
mod old_segments_go_by_age;
mod one_way_and_levels;
mod options_come_from_file_environment_and_flags;
mod overload_has_bounds;
mod packaging_is_good;
mod port_in_use_is_an_error;
mod power_cut_keeps_what_was_durable;
mod produce_then_consume;
mod retention_bounds_the_log;
mod second_node_on_the_directory_is_refused;
mod sent_again_is_stored_once;
mod the_system_is_told;
mod topic_limits_move_the_start;
mod two_reactors_are_one_node;
mod verified_under_concurrency;
mod verify_finds_damage;
mod verify_is_clean_after_crashes;
