.pushsection .rodata.cofferdam_free, "a", @progbits
.balign 64
.global cofferdam_free_start
cofferdam_free_start:
// First instruction of the zygote: r15 is its slot.
.global cofferdam_free_first
cofferdam_free_first:
  lea rsp, [r15 + {slot} - 64]
  xor esi, esi
  mov edi, {ready}
  jmp 20f
// Signal handler: rdi = number, rsi = siginfo, rdx = ucontext.
.balign 16
.global cofferdam_free_handler
cofferdam_free_handler:
  push 2                                 // clears DF, AC, NT
  popfq
  mov r15, rsp
  and r15, -{slot}
  mov rax, [rdx + 168]                   // rip
  lea rbx, [rip + cofferdam_free_start]
  sub rax, rbx
  .att_syntax
  cmpq $(cofferdam_free_end - cofferdam_free_start), %rax
  .intel_syntax noprefix
  jb 30f
// The guest was interrupted: its registers go to the slot.
10:
  mov rax, [rdx + 40]
  mov [r15 + {regs} + 72], rax           // r8
  mov rax, [rdx + 48]
  mov [r15 + {regs} + 64], rax           // r9
  mov rax, [rdx + 56]
  mov [r15 + {regs} + 56], rax           // r10
  mov rax, [rdx + 64]
  mov [r15 + {regs} + 48], rax           // r11
  mov rax, [rdx + 72]
  mov [r15 + {regs} + 24], rax           // r12
  mov rax, [rdx + 80]
  mov [r15 + {regs} + 16], rax           // r13
  mov rax, [rdx + 88]
  mov [r15 + {regs} + 8], rax            // r14
  mov rax, [rdx + 96]
  mov [r15 + {regs} + 0], rax            // r15
  mov rax, [rdx + 104]
  mov [r15 + {regs} + 112], rax          // rdi
  mov rax, [rdx + 112]
  mov [r15 + {regs} + 104], rax          // rsi
  mov rax, [rdx + 120]
  mov [r15 + {regs} + 32], rax           // rbp
  mov rax, [rdx + 128]
  mov [r15 + {regs} + 40], rax           // rbx
  mov rax, [rdx + 136]
  mov [r15 + {regs} + 96], rax           // rdx
  mov rax, [rdx + 144]
  mov [r15 + {regs} + 80], rax           // rax
  mov [r15 + {regs} + 120], rax          // orig_rax
  mov rax, [rdx + 152]
  mov [r15 + {regs} + 88], rax           // rcx
  mov rax, [rdx + 160]
  mov [r15 + {regs} + 152], rax          // rsp
  mov rax, [rdx + 168]
  mov [r15 + {regs} + 128], rax          // rip
  mov rax, [rdx + 176]
  mov [r15 + {regs} + 144], rax          // eflags
  movzx eax, word ptr [rdx + 184]
  mov [r15 + {regs} + 136], rax          // cs
  movzx eax, word ptr [rdx + 190]
  mov [r15 + {regs} + 160], rax          // ss
  rdfsbase rax
  mov [r15 + {regs} + 168], rax
  rdgsbase rax
  mov [r15 + {regs} + 176], rax
  mov rax, [rdx + 224]
  mov [r15 + {fp}], rax
  mov [r15 + {frame}], rsp
  cmp edi, {interrupt}
  je 11f
  cmp dword ptr [rsi + 8], 0             // si_code: from outside, not for the guest
  jle 22f
11:
  mov r10, [rsi + 16]                    // si_addr
  mov r8, [rsi + 24]                     // si_syscall, si_arch
  movsxd rdx, dword ptr [rsi + 8]
  mov esi, edi
  mov edi, {trap}
// Only the frame that holds the vector registers is needed: else a thread interrupted on its way to the guest each time would fill the stack.
  mov rsp, [r15 + {frame}]
// ring: rdi, rsi, rdx, r10, r8 say what happened.
20:
  mov dword ptr [r15 + {pending}], 0
  cmp dword ptr [r15 + {hot}], 0
  jne 90f
19:
  mov r9d, {cpu_segment}
  lsl r9d, r9d
  and r9d, 0xfff
  mov eax, {doorbell}
  syscall
.global cofferdam_free_rung
cofferdam_free_rung:
  cmp rax, {resume}
  je 97f
.global cofferdam_free_rung_end
cofferdam_free_rung_end:
  cmp al, {ret}
  je 95f
  cmp al, {ret_short}
  je 99f
  cmp rax, -{eintr}
  je 19b
// An order.
18:
  mov rbp, rax
  shr rbp, 8
  movzx eax, al
  cmp eax, {execute}
  je 40f
  cmp eax, {execute_return}
  je 101f
  cmp eax, {execute_resume}
  je 102f
  cmp eax, {cas}
  je 50f
  cmp eax, {clone}
  je 60f
  cmp eax, {save_fp}
  je 70f
  cmp eax, {exit}
  je 80f
  cmp eax, {order_futex}
  je 55f
// The sentry is gone.
21:
  mov edi, 1
  mov eax, {exit_group}
  syscall
  jmp 21b
// The gate: a rewritten call site jumps here, r11 is the address behind its `syscall`. Flags and all registers but rcx and r11
// stay as they are until they are saved.
.balign 16
.global cofferdam_free_gate
cofferdam_free_gate:
  rdgsbase rcx
  rorx rcx, rcx, {window_shift}
  mov ecx, ecx
  .byte 0x48, 0x8d, 0x89                 // lea rcx, [rcx + disp32]
.global cofferdam_free_window
cofferdam_free_window:
  .long 0                                // filled in: see `text`
  jrcxz 1f
  mov rcx, r11                           // %gs is the guest's own: the sentry takes this trap for the call
  int3
.global cofferdam_free_slow
cofferdam_free_slow:
1:
  lea ecx, [rax - {getpid}]
  jrcxz 2f
  lea ecx, [rax - {gettid}]
  jrcxz 3f
  lea ecx, [rax - {getuid}]
  jrcxz 4f
  lea ecx, [rax - {geteuid}]
  jrcxz 5f
  lea ecx, [rax - {getgid}]
  jrcxz 6f
  lea ecx, [rax - {getegid}]
  jrcxz 7f
  lea ecx, [rax - {getppid}]
  jrcxz 110f
  jmp 9f
2:
  mov rcx, gs:[{answer_pid}]
  jmp 8f
3:
  mov rcx, gs:[{answer_tid}]
  jmp 8f
4:
  mov rcx, gs:[{answer_uid}]
  jmp 8f
5:
  mov rcx, gs:[{answer_euid}]
  jmp 8f
6:
  mov rcx, gs:[{answer_gid}]
  jmp 8f
110:
  mov rcx, gs:[{answer_ppid}]
  jmp 8f
7:
  mov rcx, gs:[{answer_egid}]
8:
  jrcxz 9f
  lea rax, [rcx - 1]
.global cofferdam_free_answered
cofferdam_free_answered:
  jmp r11
// To the sentry.
9:
// Those of the fourth argument and of rip are stored a second time, beside the other arguments: see `slot::CALL`.
  mov gs:[{regs} + 152], rsp
  mov gs:[{regs} + 128], r11
  mov gs:[{regs} + 120], r11
  rdgsbase rsp
.global cofferdam_free_saving
cofferdam_free_saving:
  lea rsp, [rsp + {regs} + 152]
  pushfq
  lea rsp, [rsp - 24]
  push rdi
  push rsi
  push rdx
  push r10
  push rax
  push r8
  push r9
  push r10
  push r11
  push rbx
  push rbp
  push r12
  push r13
  push r14
  push r15
  lea r15, [rsp - {regs}]
  lea rsp, [r15 + {slot} - 64]
  cld
  rdfsbase rcx
  mov [r15 + {regs} + 168], rcx
  mov [r15 + {regs} + 176], r15
  xor r14d, r14d                         // which windows there are
  mov [r15 + {fp}], r14
  mov eax, eax
  cmp eax, {futex}
  je 56f
  cmp eax, {sched_yield}
  je 129f
  cmp qword ptr [r15 + {answer_paths}], 0
  jne .Lpath
.Lfree_no_path:
  cmp dword ptr [r15 + {answer_descriptors}], 0
  jne 120f
// Eager copies; see `super::eager`.
.Lfree_any:
48:
  cmp eax, {calls}
  jae 86f
  lea rcx, [rip + cofferdam_free_start + {text}]
  mov ebx, [rcx + rax * 4]
  mov ecx, ebx
  and ecx, 15
  cmp ecx, 15
  je 84f
  mov rsi, [r15 + rcx * 8 + {regs}]
  test rsi, rsi
  jz 84f                                 // left out, as many arguments may be: not worth a fault
  lea rdi, [r15 + {in_area}]
  mov r12, rsi
  mov ecx, ebx
  shr ecx, 4
  and ecx, 15
  cmp ecx, 15
  je 81f
  cmp ecx, 14
  je 83f
  mov rcx, [r15 + rcx * 8 + {regs}]
  jmp 82f
81:
  movzx ecx, bh
  shl ecx, 3
82:
  cmp rcx, {bounce}
  ja 84f
.global cofferdam_free_copy_in
cofferdam_free_copy_in:
  rep movsb
  mov r14d, {windows_in}
  jmp 84f
83:
  mov ecx, {string}
88:
.global cofferdam_free_copy_string
cofferdam_free_copy_string:
  movzx edx, byte ptr [rsi]
  mov [rdi], dl
  inc rsi
  inc rdi
  test edx, edx
  jz 89f
  dec ecx
  jnz 88b
  jmp 84f
89:
  sub rsi, r12
  mov r14d, esi
  shl r14d, {string_shift}
  or r14d, {windows_in}
.global cofferdam_free_copied_in
cofferdam_free_copied_in:
84:
  shr ebx, 16
  mov ecx, ebx
  and ecx, 15
  cmp ecx, 15
  je 89f
  mov rsi, [r15 + rcx * 8 + {regs}]
  test rsi, rsi
  jz 86f
  mov ecx, ebx
  shr ecx, 4
  and ecx, 15
  cmp ecx, 15
  je 85f
  mov rcx, [r15 + rcx * 8 + {regs}]
  jmp 87f
85:
  movzx ecx, bh
  shl ecx, 3
87:                                      // of a long one the beginning
  jrcxz 86f
  mov edx, {bounce}
  cmp rcx, rdx
  cmova rcx, rdx
  lea rdx, [rcx - 1]
  add rdx, rsi
.global cofferdam_free_probe_first
cofferdam_free_probe_first:
  lock or byte ptr [rsi], 0
  mov rdi, rdx
  xor rdi, rsi
  cmp rdi, 4096
  jb 88f
.global cofferdam_free_probe_last
cofferdam_free_probe_last:
  lock or byte ptr [rdx], 0
88:
  mov [r15 + {out_address}], rsi
  or r14d, {windows_out}
  jmp 86f
89:                                      // no output: a new thread may want the vector registers
  bt ebx, {vector_bit}
  jnc 86f
  mov eax, {fp_mask}
  mov edx, -1
  xsave64 [r15 + {fp_area}]
  or r14d, {windows_vector}
.global cofferdam_free_probed
cofferdam_free_probed:
86:
  mov edi, {call}
  mov esi, r14d
  jmp 20b
// The hot exchange; see `super::slot`. It leaves the message in its registers, for a ring.
90:
  mov ecx, {cpu_segment}
  lsl ecx, ecx
  and ecx, 0xfff
  inc ecx
  cmp ecx, [r15 + {hot}]
  je 19b                                 // the sentry waits for this very processor
  cmp edi, {call}
  jne 93f
  mov rax, [r15 + {regs} + 112]
  mov [r15 + {line} + 8], rax
  mov rax, [r15 + {regs} + 104]
  mov [r15 + {line} + 16], rax
  mov rax, [r15 + {regs} + 96]
  mov [r15 + {line} + 24], rax
  mov [r15 + {line} + 32], r10
  mov [r15 + {line} + 40], r8
  mov [r15 + {line} + 48], r9
  mov rax, [r15 + {regs} + 128]
  mov [r15 + {line} + 56], rax
  mov eax, [r15 + {regs} + 80]
  shl rax, {number} - {said}
  mov ecx, esi
  shl ecx, {said}
  or rax, rcx
  or rax, rdi
87:
  shl rax, {said}
  or rax, {posted}
  mov [r15 + {state}], rax
  cmp dword ptr [r15 + {hot}], 0
  je 92f
  mov ecx, [r15 + {spin}]
91:
  mov rax, [r15 + {state}]
  cmp al, {posted}
  jne 94f
  pause
  dec ecx
  jns 91b
92:
  mov rax, [r15 + {state}]
  cmp al, {answered}
  je 94f
  mov ecx, {asleep}
  lock cmpxchg [r15 + {state}], rcx
  jne 92b
  jmp 19b
93:
  mov eax, edi
  mov [r15 + {message}], rdi
  mov [r15 + {message} + 8], rsi
  mov [r15 + {message} + 16], rdx
  mov [r15 + {message} + 24], r10
  mov [r15 + {message} + 32], r8
  jmp 87b
94:
  cmp al, {answered}
  jne 92b                                // the sentry says that it takes long
  shr rax, {said}
  cmp al, {ret_short}
  je 99f
  cmp al, {ret}
  je 95f
  cmp rax, {resume}
  je 97f
  jmp 18b
// Behind the call, with nothing changed but its result and the memory it wrote; rax is the order.
99:
  mov rdx, rax
  shl rdx, 8
  sar rdx, 32
  jmp 100f
95:
  mov rdx, [r15 + {value}]
100:
  mov ecx, eax
  shr ecx, 8
  movzx ecx, cx
  jrcxz 96f
  mov rdi, [r15 + {out_address}]
  lea rsi, [r15 + {short}]
  lea rax, [r15 + {out_area}]
  cmp ecx, {short_out}
  cmova rsi, rax
.global cofferdam_free_copy_out
cofferdam_free_copy_out:
  rep movsb
.global cofferdam_free_copied_out
cofferdam_free_copied_out:
.Lfree_back:
96:
  mov rax, rdx
  mov [r15 + {regs} + 80], rax           // for an interrupt that comes before the guest runs
  mov r14, [r15 + {regs} + 8]
  mov r13, [r15 + {regs} + 16]
  mov r12, [r15 + {regs} + 24]
  mov rbp, [r15 + {regs} + 32]
  mov rbx, [r15 + {regs} + 40]
  mov r10, [r15 + {regs} + 56]
  mov r9, [r15 + {regs} + 64]
  mov r8, [r15 + {regs} + 72]
  mov rdx, [r15 + {regs} + 96]
  mov rsi, [r15 + {regs} + 104]
  mov rdi, [r15 + {regs} + 112]
  mov rcx, [r15 + {regs} + 128]
.global cofferdam_free_committed
cofferdam_free_committed:
  cmp dword ptr [r15 + {pending}], 0
  jne 98f
  push qword ptr [r15 + {regs} + 144]
  popfq
  mov r11, rcx
  mov rsp, [r15 + {regs} + 152]
  mov r15, [r15 + {regs}]
  jmp rcx
97:
  cmp dword ptr [r15 + {pending}], 0
  je 22f
98:
  mov edi, {trap}
  mov esi, {interrupt}
  xor edx, edx
  xor r10d, r10d
  xor r8d, r8d
  jmp 20b
.global cofferdam_free_gate_end
cofferdam_free_gate_end:
// The guest's threads are the host's.
129:
  cmp dword ptr [r15 + {answer_pid}], 0
  je 48b
  syscall
  xor edx, edx
  jmp 96b
// Something is known of descriptors: whether this call is one that can be answered. All arguments are still in their registers; what cannot goes on as
// any call.
120:
  cmp eax, {sys_newfstatat}
  jne 128f
  cmp r10d, {empty_path}
  jne 48b
  test rsi, rsi
  jz 48b
.global cofferdam_free_path
cofferdam_free_path:
  cmp byte ptr [rsi], 0
  jne 48b
  mov rsi, rdx
  mov eax, {sys_fstat}
128:
  cmp eax, 31
  ja 170f
  mov ecx, {descriptor_calls}
  bt ecx, eax
  jnc 48b
  mov ebx, edi
  and ebx, {descriptor_mask}
  shl ebx, {descriptor_shift}
  lea rbx, [r15 + rbx + {descriptors}]
  lea ecx, [rdi + 1]
  test ecx, ecx
  jz 125f
  cmp ecx, [rbx]
  jne 125f
  mov ecx, [rbx + 4]
  cmp eax, {sys_lseek}
  je 123f
  cmp eax, {sys_fstat}
  je 124f
  cmp eax, {sys_pread}
  je 130f
  cmp eax, {sys_pwrite}
  je 131f
  cmp rdx, {most_bytes}
  ja 48b
  mov rdi, rsi
  shr rdi, 32
  cmp edi, {guest_end_high}
  jae 48b
  lea rdi, [rsi + rdx]
  shr rdi, 32
  cmp edi, {guest_end_high}
  jae 48b
  cmp eax, {sys_write}
  je 121f
  test ecx, {known_read_ring}
  jnz 150f
  test ecx, {known_end}
  jnz 126f
  test ecx, {known_zeroes}
  jz 133f
  mov rdi, rsi
  mov rcx, rdx
  xor eax, eax
.global cofferdam_free_zero
cofferdam_free_zero:
  rep stosb
  jmp 96b
126:
  xor edx, edx
  jmp 96b
121:
  test ecx, {known_writes}
  jnz 96b
  test ecx, {known_write_ring}
  jnz 160f
  jmp 48b
// lseek: to a place (0), or from where it is (1).
123:
  mov rax, [rbx + {descriptor_position}]
  btr rax, {descriptor_held}
  jnc 125f
  mov rdi, rsi
  test edx, edx
  jz 127f
  cmp edx, 1
  jne 125f
  add rdi, rax
127:
  test rdi, rdi
  js 125f
  mov rdx, rdi
  bts rax, {descriptor_held}
  bts rdi, {descriptor_held}
  lock cmpxchg [rbx + {descriptor_position}], rdi
  je 96b
125:
  mov eax, [r15 + {regs} + 80]
  jmp 48b
124:
  cmp dword ptr [rbx + {descriptor_has_stat}], 0
  je 125b
  mov rdi, rsi
  shr rdi, 32
  cmp edi, {guest_end_high}
  jae 125b
  mov rdi, rsi
  lea rsi, [rbx + {descriptor_stat}]
  mov ecx, {stat_words}
  xor edx, edx
.global cofferdam_free_stat
cofferdam_free_stat:
  rep movsq
  jmp 96b
.global cofferdam_free_unknown
cofferdam_free_unknown:
  jmp 125b
  answer_pages
answer_pipes
answer_interest
// A futex call: of the guest at the gate, whose arguments are still in their registers. What is not for the host goes on as any call.
56:
  cmp dword ptr [r15 + {answer_futex}], 0
  je 48b
  mov ecx, esi
  xor ecx, {futex_private}
  cmp ecx, {futex_realtime}
  je 57f
  cmp ecx, 31
  ja 48b
  mov ebx, {futex_mask}
  bt ebx, ecx
  jnc 48b
  test ecx, ecx
  jnz 57f
  test r10, r10
  jnz 48b                                // the sentry minds the time
57:
  mov esi, esi
  jmp 58f
// Or an order; see `super::futex`.
55:
  movzx r14d, bpl
  shr rbp, 8
  mov esi, ebp
  mov rdi, [r15 + {result}]
  mov rdx, [r15 + {result} + 8]
  mov r10, [r15 + {result} + 16]
  mov r8, [r15 + {result} + 24]
  mov r9, [r15 + {result} + 32]
58:
  mov eax, {futex}
// A signal that comes from here on, and before the call, goes back to here.
.global cofferdam_free_napping
cofferdam_free_napping:
  cmp dword ptr [r15 + {pending}], 0
  jne 59f
53:
  mov dword ptr [r15 + {nap}], 1
  syscall
.global cofferdam_free_futex
cofferdam_free_futex:
  mov dword ptr [r15 + {nap}], 0
  cmp r14d, 1
  ja 52f
  cmp rax, -{eintr}
  je 54f
  test r14d, r14d
  jnz 51f
  cmp rax, -{efault}
  je 86b                                 // the sentry may know better
  mov rdx, rax
  jmp 96b
51:
  mov [r15 + {regs} + 80], rax
  jmp 97b
52:
  mov rdx, rax
  mov esi, 1
  mov edi, {done}
  jmp 20b
59:
  cmp r14d, 1
  ja 53b                                 // nothing that sleeps
  jb 86b                                 // nothing has happened: as any call
  mov r14d, {woken_before}
54:
  mov dword ptr [r15 + {nap}], 0
  mov edi, {woken}
  mov esi, r14d
  jmp 20b
// resume: the guest's registers from the slot.
.balign 16
.global cofferdam_free_resume
cofferdam_free_resume:
22:
  mov rdi, [r15 + {fp}]
  test rdi, rdi
  jz 23f
  mov eax, -1
  mov edx, -1
  xrstor64 [rdi]
.global cofferdam_free_resume_fp_done
cofferdam_free_resume_fp_done:
23:
  mov rax, [r15 + {regs} + 168]
  wrfsbase rax
  mov rax, [r15 + {regs} + 176]
  wrgsbase rax
  lea rsp, [r15 + {regs}]
  pop r15
  pop r14
  pop r13
  pop r12
  pop rbp
  pop rbx
  pop r11
  pop r10
  pop r9
  pop r8
  pop rax
  pop rcx
  pop rdx
  pop rsi
  pop rdi
  lea rsp, [rsp + 8]
  iretq
.global cofferdam_free_resume_end
cofferdam_free_resume_end:
// A signal met the stub; rax is how far into it.
30:
  cmp dword ptr [rsi + 8], 0
  jle 32f
  .att_syntax
  cmpl $(cofferdam_free_cas_op - cofferdam_free_start), %eax
  .intel_syntax noprefix
  je 51f
// A copy? Whether this is the place of one, and where it goes on if it faults.
  lea rcx, [rip + cofferdam_free_copies]
37:
  movzx r8d, word ptr [rcx]
  test r8d, r8d
  jz 38f
  cmp r8d, eax
  je 39f
  add rcx, 4
  jmp 37b
38:
  .att_syntax
  cmpl $(cofferdam_free_resume - cofferdam_free_start), %eax
  .intel_syntax noprefix
  jae 29f
  .att_syntax
  cmpl $(cofferdam_free_committed - cofferdam_free_start), %eax
  .intel_syntax noprefix
  jb 10b                                 // the guest jumped here, or to the gate with a %gs of its own
  .att_syntax
  cmpl $(cofferdam_free_gate_end - cofferdam_free_start), %eax
  .intel_syntax noprefix
  jb 34f                                 // single steps behind a call
  jmp 10b
39:                                      // a copy faulted: it did not happen
  movzx ecx, word ptr [rcx + 2]
  add rcx, rbx
  mov [rdx + 168], rcx
  jmp 36f
29:
  .att_syntax
  cmpl $(cofferdam_free_resume_end - cofferdam_free_start), %eax
  .intel_syntax noprefix
  jae 10b
// The guest's registers cannot be loaded: its fault.
  .att_syntax
  cmpl $(cofferdam_free_resume_fp_done - cofferdam_free_start), %eax
  .intel_syntax noprefix
  jae 31f
  mov qword ptr [r15 + {fp}], 0
  jmp 11b
31:
  mov rcx, [rdx + 224]
  mov [r15 + {fp}], rcx
  mov [r15 + {frame}], rsp
  jmp 11b
// From outside, or an interrupt.
32:
  cmp edi, {interrupt}
  jne 36f
  .att_syntax
  cmpl $(cofferdam_free_gate - cofferdam_free_start), %eax
  .intel_syntax noprefix
  jb 38f
  mov rcx, [rdx + 64]                    // r11
  .att_syntax
  cmpl $(cofferdam_free_answered - cofferdam_free_start), %eax
  .intel_syntax noprefix
  je 28f
  .att_syntax
  cmpl $(cofferdam_free_saving - cofferdam_free_start), %eax
  .intel_syntax noprefix
  jb 27f
  .att_syntax
  cmpl $(cofferdam_free_committed - cofferdam_free_start), %eax
  .intel_syntax noprefix
  jb 37f
  .att_syntax
  cmpl $(cofferdam_free_gate_end - cofferdam_free_start), %eax
  .intel_syntax noprefix
  jb 34f
  jmp 38f
27:                                      // nothing has happened: the guest is still before the call
  sub rcx, 2
28:
  mov [rdx + 168], rcx
  jmp 10b
38:
  .att_syntax
  cmpl $(cofferdam_free_rung - cofferdam_free_start), %eax
  .intel_syntax noprefix
  jb 37f
  .att_syntax
  cmpl $(cofferdam_free_rung_end - cofferdam_free_start), %eax
  .intel_syntax noprefix
  jae 33f
  cmp qword ptr [rdx + 144], {resume}
  je 34f
  jmp 37f
33:
  .att_syntax
  cmpl $(cofferdam_free_resume - cofferdam_free_start), %eax
  .intel_syntax noprefix
  jb 37f
  .att_syntax
  cmpl $(cofferdam_free_resume_end - cofferdam_free_start), %eax
  .intel_syntax noprefix
  jae 37f
  .att_syntax
  cmpl $(cofferdam_free_resume_fp_done - cofferdam_free_start), %eax
  .intel_syntax noprefix
  jae 35f
34:                                      // the guest's vector registers are where they were, unless they were live
  cmp qword ptr [r15 + {fp}], 0
  jne 11b
35:
  mov rcx, [rdx + 224]
  mov [r15 + {fp}], rcx
  mov [r15 + {frame}], rsp
  jmp 11b
37:                                      // said on the way to the guest, unless the sentry hears of something else first
  mov dword ptr [r15 + {pending}], 1
// back: to where the signal met the stub; before the host's futex call to the look at what is pending.
36:
  .att_syntax
  leal -(cofferdam_free_napping - cofferdam_free_start)(%rax), %ecx
  cmpl $(cofferdam_free_futex - cofferdam_free_napping), %ecx
  .intel_syntax noprefix
  jae 26f
  lea rcx, [rip + cofferdam_free_napping]
  mov [rdx + 168], rcx
26:
  mov rbx, rdx
  mov rdi, [rdx + 224]
  mov eax, -1
  mov edx, -1
  xrstor64 [rdi]
  push {user_ds}
  push qword ptr [rbx + 160]
  push qword ptr [rbx + 176]
  push {user_cs}
  push qword ptr [rbx + 168]
  push qword ptr [rbx + 128]             // rbx, popped last
  mov r8, [rbx + 40]
  mov r9, [rbx + 48]
  mov r10, [rbx + 56]
  mov r11, [rbx + 64]
  mov r12, [rbx + 72]
  mov r13, [rbx + 80]
  mov r14, [rbx + 88]
  mov r15, [rbx + 96]
  mov rdi, [rbx + 104]
  mov rsi, [rbx + 112]
  mov rbp, [rbx + 120]
  mov rdx, [rbx + 136]
  mov rax, [rbx + 144]
  mov rcx, [rbx + 152]
  pop rbx
  iretq
// execute: ebp host system calls from the list at the start of the slot; see `super::mailbox::Op`. Bit 63 of rbp: then return; 62: then resume.
.balign 16
102:
  bts rbp, 62
  jmp 40f
101:
  bts rbp, 63
40:
  mov rbx, r15
  xor r12d, r12d
  xor r14d, r14d
41:
  cmp r12d, ebp
  jae 46f
  mov r13, -1
  mov rcx, [rbx + 56]
  test rcx, rcx
  jz 43f
  cmp cl, 3
  je 45f
  cmp cl, 4
  je .Lfree_write
42:
  mov eax, {doorbell}
  mov edi, {want_fd}
  mov rsi, r12
  syscall
  cmp rax, -{eintr}
  je 42b
  mov r14, rax
  test rax, rax
  js 46f
  mov r13, rax
43:
  mov rdi, [rbx + 8]
  mov rsi, [rbx + 16]
  mov rdx, [rbx + 24]
  mov r10, [rbx + 32]
  mov r8, [rbx + 40]
  mov r9, [rbx + 48]
  test r13, r13
  cmovns r8, r13
  mov rax, [rbx]
  syscall
  mov r14, rax
  test r13, r13
  js 44f
  cmp qword ptr [rbx + 56], 1
  mov [rbx + 40], r13                    // for the sentry, if it is kept
  jne 44f
  mov rdi, r13
  mov eax, {close}
  syscall
44:
  cmp r14, -4095
  jae 46f
  add rbx, 64
  inc r12
  jmp 41b
.Lfree_write:                            // a copy
  mov rdi, [rbx + 8]
  mov rsi, [rbx + 16]
  mov rcx, [rbx + 24]
  mov r14, [rbx + 32]
.global cofferdam_free_write
cofferdam_free_write:
  rep movsb
  xor r14d, r14d
.global cofferdam_free_written
cofferdam_free_written:
  jmp 44b
45:                                      // the descriptor that an earlier operation kept
  shr ecx, 8
  and ecx, 63
  shl ecx, 6
  mov rcx, [r15 + rcx + 40]
  mov [rbx + 40], rcx
  jmp 43b
46:
  cmp r12d, ebp
  jb 49f
  xor eax, eax
  bt rbp, 63
  jc 95b
  bt rbp, 62
  jnc 49f
  mov dword ptr [r15 + {begun}], 1
  jmp 97b
49:
  mov rsi, r12
  mov rdx, r14
47:
  mov edi, {done}
  jmp 20b
// cas: rdi = address, eax = expected, esi = new.
.balign 16
50:
  mov rdi, [r15 + {args}]
  mov eax, [r15 + {args} + 8]
  mov ecx, [r15 + {args} + 16]
.global cofferdam_free_cas_op
cofferdam_free_cas_op:
  lock cmpxchg dword ptr [rdi], ecx
  mov edx, eax
  mov esi, 1
  jmp 47b
51:                                      // it faulted: the frame is not needed
  mov rsp, [rdx + 160]
  xor esi, esi
  xor edx, edx
  jmp 47b
// clone: flags; the order itself holds the child's slot and the nonce, where no thread of the guest can change them.
.balign 16
60:
  mov rdi, [r15 + {args}]
  lea r12, [rip + cofferdam_free_start]
  add r12, {mailboxes}
  mov ebx, ebp
  and ebx, {slots} - 1
  imul rbx, rbx, {slot}
  add rbx, r12
  mov r12, rbp
  shr r12, {nonce_shift}
  mov r13, rdi
  xor esi, esi
  xor edx, edx
  xor r10d, r10d
  xor r8d, r8d
  mov eax, {sys_clone}
  syscall
  test rax, rax
  jz 61f
  mov rdx, rax
  mov esi, 1
  jmp 47b
// The child: without CLONE_VM it has no slot yet.
61:
  bt r13, 8
  jc 63f
62:
  mov eax, {doorbell}
  mov edi, {hello}
  mov rsi, r12
  syscall
  cmp rax, -{eintr}
  je 62b
  test rax, rax
  js 21b
  mov r8, rax
  lea rdi, [rip + cofferdam_free_start]
  add rdi, {mailboxes}
  mov r14, rdi
  mov esi, {window}
  mov edx, 3
  mov r10d, {map_flags}
  xor r9d, r9d
  mov eax, {mmap}
  syscall
  cmp rax, r14
  jne 21b
  mov rdi, r8
  mov eax, {close}
  syscall
  mov rdi, r14
  mov esi, {window}
  mov edx, {dontfork}
  mov eax, {madvise}
  syscall
  test rax, rax
  jnz 21b
  jmp 64f
63:
  lea rdi, [rbx + {stack}]
  xor esi, esi
  mov eax, {sigaltstack}
  syscall
  test rax, rax
  jnz 21b
64:
  mov r15, rbx
  lea rsp, [r15 + {slot} - 64]
  mov rsi, r12
  mov edi, {ready}
  jmp 20b
// save_fp: live vector registers to the slot.
70:
  cmp qword ptr [r15 + {fp}], 0
  jne 71f
  lea rdi, [r15 + {fp_area}]
  mov eax, {fp_mask}
  mov edx, -1
  xsave64 [rdi]
  mov [r15 + {fp}], rdi
71:
  mov esi, 1
  xor edx, edx
  jmp 47b
// exit: of this thread.
80:
  xor edi, edi
  mov eax, {sys_exit}
  syscall
  jmp 21b
paths_code
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
  copies cofferdam_free_write, cofferdam_free_written
  copies cofferdam_free_zero, cofferdam_free_unknown
  copies cofferdam_free_path, cofferdam_free_unknown
  copies cofferdam_free_stat, cofferdam_free_unknown
  copies_pages
  copies_pipes
  copies_interest
  paths_copies
  .short 0
.global cofferdam_free_end
cofferdam_free_end:
.popsection
