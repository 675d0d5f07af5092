// Ends of pipes: see `crate::ring`. The entry is in rbx, the arguments are in their registers, the buffer is the guest's; r14 stays as it is. A window can vanish,
// so each look at it may fault. As with `pages.s`, a macro.
// Of rdx bytes from place eax of the ring on: in rcx those up to its end, in rax the rest, which are at its beginning.
.macro ring_parts
  mov ecx, {ring_size}
  sub ecx, eax
  cmp rcx, rdx
  cmova rcx, rdx
  mov rax, rdx
  sub rax, rcx
.endm
.macro answer_pipes
// read:
150:
  test rdx, rdx
  jz 125b
  mov r12, [rbx + {descriptor_ring}]
151:
cofferdam_free_ring_1:
  mov rbp, [r12 + {ring_reader}]
  bt rbp, {ring_held}
  jnc 125b
cofferdam_free_ring_2:
  mov rax, [r12]
  sub eax, ebp
  jz 155f
  cmp eax, {ring_size}
  ja 125b
  cmp rdx, rax
  cmova rdx, rax
  mov rdi, rsi
  mov eax, ebp
  and eax, {ring_size} - 1
  lea rsi, [r12 + rax + {ring_bytes}]
  ring_parts
cofferdam_free_ring_read:
  rep movsb
  mov rcx, rax
  jrcxz 152f
  lea rsi, [r12 + {ring_bytes}]
cofferdam_free_ring_read_on:
  rep movsb
152:
  mov rax, rbp
  lea rcx, [rbp + rdx]
cofferdam_free_ring_3:
  lock cmpxchg [r12 + {ring_reader}], rcx
  jne 125b
  jmp 96b
// Nothing is there: a moment.
155:
  mov ecx, [r15 + {ring_looks}]
156:
  dec ecx
  js 125b
  pause
  cmp dword ptr [r15 + {pending}], 0
  jne 125b
cofferdam_free_ring_4:
  mov rax, [r12]
  bt rax, {ring_held}
  jnc 125b
  cmp eax, ebp
  jne 151b
  jmp 156b
// write:
160:
  test rdx, rdx
  jz 125b
  mov r12, [rbx + {descriptor_ring}]
cofferdam_free_ring_5:
  mov rbp, [r12]
  bt rbp, {ring_held}
  jnc 125b
cofferdam_free_ring_6:
  mov rax, [r12 + {ring_reader}]
  mov ecx, ebp
  sub ecx, eax
  mov eax, {ring_size}
  sub eax, ecx
  jb 125b
  cmp rdx, rax
  ja 125b
  mov eax, ebp
  and eax, {ring_size} - 1
  lea rdi, [r12 + rax + {ring_bytes}]
  ring_parts
cofferdam_free_ring_write:
  rep movsb
  mov rcx, rax
  jrcxz 162f
  lea rdi, [r12 + {ring_bytes}]
cofferdam_free_ring_write_on:
  rep movsb
162:
  mov rax, rbp
  lea rcx, [rbp + rdx]
cofferdam_free_ring_7:
  lock cmpxchg [r12], rcx
  jne 125b
  jmp 96b
.endm
.macro copies_pipes
  copies cofferdam_free_ring_1, cofferdam_free_unknown
  copies cofferdam_free_ring_2, cofferdam_free_unknown
  copies cofferdam_free_ring_read, cofferdam_free_unknown
  copies cofferdam_free_ring_read_on, cofferdam_free_unknown
  copies cofferdam_free_ring_3, cofferdam_free_unknown
  copies cofferdam_free_ring_4, cofferdam_free_unknown
  copies cofferdam_free_ring_5, cofferdam_free_unknown
  copies cofferdam_free_ring_6, cofferdam_free_unknown
  copies cofferdam_free_ring_write, cofferdam_free_unknown
  copies cofferdam_free_ring_write_on, cofferdam_free_unknown
  copies cofferdam_free_ring_7, cofferdam_free_unknown
.endm
