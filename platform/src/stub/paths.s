// Calls on paths that the stub was told of; see `super::paths`. A macro, which `free.s` expands.
.macro paths_code
// All arguments are still in their registers. What cannot be answered goes on as any call, and one on a descriptor as that.
.Lpath:
  mov ebx, {path_stat}
  cmp eax, {sys_stat}
  je 203f
  mov ebx, {path_lstat}
  cmp eax, {sys_lstat}
  je 203f
  mov ebx, {path_access}
  cmp eax, {sys_access}
  je 202f
  cmp eax, {sys_faccessat}
  je 201f
  cmp eax, {sys_newfstatat}
  je 204f
  cmp eax, {sys_faccessat2}
  jne .Lfree_no_path
  test r10d, r10d
  jz 201f
  mov ebx, {path_access_effective}
  cmp r10d, {eaccess}
  jne .Lfree_no_path
201:                                     // the directory does not count: what is told is absolute
  mov rdi, rsi
  mov esi, edx
202:
  cmp esi, 7
  ja 209f
  or ebx, esi
  jmp 203f
204:
  mov ecx, r10d
  and ecx, ~{no_automount}
  mov ebx, {path_lstat}
  cmp ecx, {nofollow}
  je 205f
  mov ebx, {path_stat}
  test ecx, ecx
  jnz .Lfree_no_path
205:
  mov rdi, rsi
  mov rsi, rdx
203:                                     // rdi is the path, rsi the buffer, ebx which call
  mov rcx, rdi
  shr rcx, 32
  cmp ecx, {guest_end_high}
  jae 209f
  mov r8, rdi
  mov r9d, ebx
  mov r11, 0x0101010101010101
  mov r12, r11
  shl r12, 7
  mov r13, {path_factor}
  mov ebp, {path_words}
// Eight bytes at a time: mixed, and searched for the NUL.
206:
.Lpath_hash:
  mov rcx, [rdi]
  mov rdx, rcx
  not rdx
  and rdx, r12
  mov rax, rcx
  sub rax, r11
  and rdx, rax
  jnz 207f
  rol rbx, 5
  xor rbx, rcx
  imul rbx, r13
  add rdi, 8
  dec ebp
  jnz 206b
  jmp 209f
207:                                     // of the last ones those before the NUL
  lea rax, [rdx - 1]
  not rdx
  and rdx, rax
  and rcx, rdx
  rol rbx, 5
  xor rbx, rcx
  imul rbx, r13
  shr rbx, 64 - {path_bits}
  shl ebx, {path_shift}
  lea rbx, [r15 + rbx + {paths}]
  sub rdi, r8
  shr edi, 3
  inc edi
  mov rax, [r15 + {answer_paths}]
  shl rax, 8
  or rax, rdi
  shl rax, 8
  or rax, r9
  cmp rax, [rbx + {path_key}]
  jne 209f
  lea rdx, [rbx + {path_text}]
208:
  dec edi
  jz 210f
.Lpath_compare:
  mov rax, [r8]
  cmp rax, [rdx]
  jne 209f
  add r8, 8
  add rdx, 8
  jmp 208b
210:
  cmp rcx, [rdx]
  jne 209f
  lea rax, [rip + cofferdam_free_start + {epochs}]
  mov ecx, [rbx + {path_counter}]
  and ecx, {epochs_mask}
  mov rcx, [rax + rcx * 8]
  add rcx, [rax]
  cmp rcx, [rbx + {path_epoch}]
  jne 209f
  mov rdx, [rbx + {path_result}]
  cmp r9d, {path_lstat}
  ja 211f
  test rdx, rdx
  jnz 211f
  mov rcx, rsi
  shr rcx, 32
  cmp ecx, {guest_end_high}
  jae 209f
  mov rdi, rsi
  lea rsi, [rbx + {path_attributes}]
  mov ecx, {stat_words}
.Lpath_copy:
  rep movsq
211:
  inc dword ptr [rbx + {path_uses}]
  jmp .Lfree_back
.Lpath_unknown:
209:
  mov r8, [r15 + {regs} + 72]
  mov r9, [r15 + {regs} + 64]
  mov r10, [r15 + {regs} + 56]
  mov eax, [r15 + {regs} + 80]
  jmp .Lfree_any
.endm
.macro paths_copies
  copies .Lpath_hash, .Lpath_unknown
  copies .Lpath_compare, .Lpath_unknown
  copies .Lpath_copy, .Lpath_unknown
.endm
