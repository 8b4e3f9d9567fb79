// SPDX-License-Identifier: GPL-2.0

//! Checks whether a word on a stack may be a return address: the code before this address is a
//! call.

/// Length of the longest call instruction that is recognised, in bytes.
pub const LONGEST: usize = 7;

/// Returns whether x86-64 code ends with a call instruction, direct or indirect through a register
/// or memory.
pub fn ends_with_call(code: &[u8]) -> bool {
    let at_end = |length: usize| {
        code.len()
            .checked_sub(length)
            .map(|start| &code[start..])
            .unwrap_or_default()
    };
    // call rel32
    if at_end(5).first() == Some(&0xe8) {
        return true;
    }
    // call r/m64 is ff /2; the ModRM byte determines the length.
    (2..=LONGEST).any(|length| match at_end(length) {
        [0xff, modrm, rest @ ..] if (modrm >> 3) & 7 == 2 => {
            operand_length(*modrm, rest.first().copied()) == Some(rest.len())
        }
        _ => false,
    })
}

/// Returns the number of bytes that follow a ModRM byte. `next` is the byte after the ModRM byte,
/// which may be a SIB byte.
fn operand_length(modrm: u8, next: Option<u8>) -> Option<usize> {
    let (mode, register) = (modrm >> 6, modrm & 7);
    let sib = usize::from(mode != 3 && register == 4);
    let displacement = match (mode, register) {
        (0, 5) => 4,
        // No base register.
        (0, 4) if next? & 7 == 5 => 4,
        (0 | 3, _) => 0,
        (1, _) => 1,
        _ => 4,
    };
    Some(sib + displacement)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls() {
        let calls: [&[u8]; 9] = [
            // call rel32
            &[0xe8, 1, 2, 3, 4],
            // call *%rax
            &[0xff, 0xd0],
            // call *%r12
            &[0x41, 0xff, 0xd4],
            // call *(%rbx)
            &[0xff, 0x13],
            // call *0x18(%rax)
            &[0xff, 0x50, 0x18],
            // call *0x1234(%rip)
            &[0xff, 0x15, 0x34, 0x12, 0, 0],
            // call *0x8(%rsp)
            &[0xff, 0x54, 0x24, 8],
            // call *0x100(%r12,%rax,8)
            &[0x41, 0xff, 0x94, 0xc4, 0, 1, 0, 0],
            // call *0x1000(,%rax,8)
            &[0xff, 0x14, 0xc5, 0, 0x10, 0, 0],
        ];
        for call in calls {
            assert!(ends_with_call(call), "{call:x?}");
            let after_another = [&[0x90, 0x48, 0x89], call].concat();
            assert!(ends_with_call(&after_another), "{call:x?}");
        }
    }

    #[test]
    fn what_is_no_call() {
        let others: [&[u8]; 9] = [
            &[],
            &[0xff],
            &[0xe8, 1, 2, 3],
            // syscall
            &[0xb8, 11, 0, 0, 0, 0x0f, 0x05],
            // jmp *%rax
            &[0x90, 0x90, 0xff, 0xe0],
            // jmp rel32
            &[0x90, 0xe9, 1, 2, 3, 4],
            // push (%rax)
            &[0x90, 0xff, 0x30],
            // call *(%rbx), followed by another instruction
            &[0xff, 0x13, 0x90],
            // The displacement is missing.
            &[0x90, 0x90, 0xff, 0x15],
        ];
        for other in others {
            assert!(!ends_with_call(other), "{other:x?}");
        }
    }
}
