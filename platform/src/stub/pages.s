// What the stub answers from the pages of a file that lie in a window: pread64, pwrite64, and read by the lent position. The code is a macro, since it
// goes into the middle of `free.s`, before the table of copies.
//
// A copy says that it is under way before it looks at how much is valid: who makes that less looks at the mark after. A write looks again when it is
// done: one that was taken back meanwhile is made anew by the sentry, as a whole and after what was done in between. A fault goes on to the sentry as if
// nothing had been tried.
.macro answer_pages
// pread64: r10 is the place.
130:
  mov r12, r10
  lea r13, [rbx + {pages_readable}]
  jmp 132f
// pwrite64.
131:
  mov r12, r10
  lea r13, [rbx + {pages_writable}]
  jmp 132f
// read: at the position.
133:
  mov r12, [rbx + {descriptor_position}]
  btr r12, {descriptor_held}
  jnc 125b
  lea r13, [rbx + {pages_readable}]
132:
  cmp dword ptr [r13], 0
  je 125b
  test rdx, rdx
  jz 125b
  mov rdi, rsi
  shr rdi, 32
  cmp edi, {guest_end_high}
  jae 125b
  lea rdi, [rsi + rdx]
  shr rdi, 32
  cmp edi, {guest_end_high}
  jae 125b
  mov ecx, 1
  xchg [rbx + {pages_copying}], ecx
  mov ecx, [r13]
  sub rcx, rdx
  jb 139f
  cmp r12, rcx
  ja 139f
  mov rcx, rdx
  mov r13, rdx
  cmp eax, {sys_pwrite}
  je 134f
  mov rdi, rsi
  mov rsi, [rbx + {pages_window}]
  add rsi, r12
.global cofferdam_free_pages_out
cofferdam_free_pages_out:
  rep movsb
  cmp eax, {sys_read}
  jne 135f
  mov rax, r12
  lea rdx, [r12 + r13]
  bts rax, {descriptor_held}
  bts rdx, {descriptor_held}
  lock cmpxchg [rbx + {descriptor_position}], rdx
  jne 139f
// The access time follows if the file was written since it last did.
135:
  mov rcx, [rbx + {pages_read_at}]
  cmp rcx, [rbx + {pages_written_at}]
  ja 136f
  rdtsc
  shl rdx, 32
  or rax, rdx
  mov [rbx + {pages_read_at}], rax
  jmp 137f
134:
  mov rdi, [rbx + {pages_window}]
  add rdi, r12
.global cofferdam_free_pages_in
cofferdam_free_pages_in:
  rep movsb
  mov ecx, [rbx + {pages_writable}]
  sub rcx, r13
  jb 139f
  cmp r12, rcx
  ja 139f
  rdtsc
  shl rdx, 32
  or rax, rdx
  mov [rbx + {pages_written_at}], rax
137:
  mov dword ptr [rbx + {descriptor_has_stat}], 0
136:
  mov dword ptr [rbx + {pages_copying}], 0
  mov rdx, r13
  jmp 96b
.global cofferdam_free_pages_ask
cofferdam_free_pages_ask:
139:
  mov dword ptr [rbx + {pages_copying}], 0
  jmp 125b
.endm
.macro copies_pages
  copies cofferdam_free_pages_out, cofferdam_free_pages_ask
  copies cofferdam_free_pages_in, cofferdam_free_pages_ask
.endm
