//! The cases, by duty.
mod attacks;
mod begin;
mod births;
mod descriptors;
mod ends;
mod forged;
mod futex;
mod gate;
mod host;
mod hostile;
mod interest;
mod long;
mod memory;
mod pages;
mod paths;
mod random;
mod reuse;
mod rings;
mod tasks;
mod traps;
mod wakes;

use cofferdam_platform::Platform;

type Case = fn(Box<dyn Platform>);

macro_rules! table {
    ($($module:ident: $($name:ident)+;)+) => {
        /// All cases by name.
        pub const ALL: &[(&str, Case)] = &[$($((stringify!($name), $module::$name)),+),+];
    };
}

table! {
    traps: syscall_trap syscall_numbers syscall32 vsyscall faults single_step bus_error;
    tasks: fork_copies_memory fork_of_fork spawn_shares_memory leader_ends_first terminate_running drop_elsewhere
        kill_running kill_stopped handles_after_death many_threads many_processes cpu_time xmm_survives fpstate segment_bases;
    memory: file_mappings protections partial_counts remap unmap_and_advise batch_errors common_files long_batches out_of_range
        compare_exchange residence contended_compare_exchange fresh_process_is_empty vdso_works;
    wakes: interrupt_busy_loop interrupt_when_stopped interrupt_storm wake_coalesces wake_from_elsewhere wake_is_never_lost;
    hostile: wild_registers no_restart jump_into_stub scribbled_mailboxes mailboxes_of_the_dead exchange_beside_busy_thread;
    attacks: calls_of_the_stub scribbled_system_calls scribbled_clones own_segment_bases;
    begin: writes_before_the_first_instruction texts_before_the_first_instruction;
    ends: ends_can_be_awaited;
    births: lost_children kept_mailboxes lies_about_children;
    forged: forged_signal_frame other_selectors foreign_descriptors flood_of_rings exchange_answered_by_calls;
    long: others_are_served_meanwhile one_ends_though_nobody_takes_over;
    gate: gate_calls gate_changes_memory_later gate_vector_registers gate_buffers gate_interrupt_storm gate_interrupt_arrives gate_with_own_gs gate_overlapping_calls gate_buffers_of_two;
    descriptors: descriptors_are_answered descriptors_change_hands descriptors_scribbled;
    pages: pages_are_answered pages_interrupted pages_scribbled;
    paths: paths_are_answered paths_are_never_old paths_scribbled;
    rings: rings_move_bytes rings_change_hands;
    interest: changes_are_noted changes_interrupted;
    futex: futex_results futex_sleepers futex_interrupted futex_interrupts_arrive futex_signals_from_outside futex_crowd futex_jumped_to
        futex_hijacked_exchange;
    reuse: threads_begin_anew leaders_are_reused answers_are_forgotten scribbled_idle_threads;
    random: random_walk;
    host: stubs_have_nothing stray_signals killed_from_outside zygote_killed drop_leaves_nothing sentry_killed listed_syscalls_suffice;
}
