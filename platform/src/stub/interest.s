// epoll_ctl(2): what it asks for is noted in the slot, if the sentry has said that it cannot fail; see `super::interest`. As with `pages.s`, a macro. r14 stays as it is.
.macro answer_interest
170:
  cmp eax, {sys_epoll_ctl}
  jne 48b
  mov rbp, [r15 + {interest_noted}]
  bt rbp, {interest_held}
  jnc 48b
  lea ecx, [rdi + 1]
  cmp ecx, [r15 + {interest_epoll}]
  jne 48b
  cmp edx, {interest_fds}
  jae 48b
  cmp esi, 3
  ja 48b
  mov ebx, edx
  movzx ecx, byte ptr [r15 + rbx + {interest_allowed}]
  bt ecx, esi
  jnc 48b
  mov eax, ebp
  sub eax, [r15 + {interest_taken}]
  cmp eax, {interest_notes}
  jae 125b
  mov eax, ebp
  and eax, {interest_notes} - 1
  lea eax, [rax + rax * 2]
  lea r12, [r15 + rax * 8 + {interest_list}]
  mov ecx, esi
  shl rcx, 32
  or rcx, rbx
  mov [r12], rcx
  mov edx, {interest_out}
  cmp esi, {epoll_ctl_del}
  je 171f
.global cofferdam_free_interest_1
cofferdam_free_interest_1:
  mov ecx, [r10]
.global cofferdam_free_interest_2
cofferdam_free_interest_2:
  mov rdi, [r10 + 4]
  test ecx, {epoll_exclusive}
  jnz 125b
  mov [r12 + 8], rcx
  mov [r12 + 16], rdi
  mov edx, {interest_in}
// Before it counts: if the sentry has taken the right away meanwhile this is wrong, and put right by the sentry, which is asked.
171:
  mov [r15 + rbx + {interest_allowed}], dl
  mov rax, rbp
  lea rcx, [rbp + 1]
  lock cmpxchg [r15 + {interest_noted}], rcx
  jne 125b
  xor edx, edx
  jmp 96b
.endm
.macro copies_interest
  copies cofferdam_free_interest_1, cofferdam_free_unknown
  copies cofferdam_free_interest_2, cofferdam_free_unknown
.endm
