# What an HVM guest runs whose disk says which accesses it makes: it reads them from the disk by the BIOS, and makes
# them, one after another, in flat 32-bit mode with interrupts off.
#
# Of each, 16 bytes: what (below: four times the operation, and the logarithm of the width), 0, a port, an address, a
# value, a count. It begins at sector 8, at 10000h in memory, and the program goes to where nothing is transferred to.
.set SECTOR, 512
.set OWN, 8
.set AT_ONCE, 64
.set RECORDS, 0x10000
.set RECORD, 16
.set AWAY, 0x600000
.code16
.globl start
start:
    ljmp $0, $begin
begin:
    xorw %ax, %ax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %ss
    movw $0x7c00, %sp
    cld
    movb %dl, drive
    # The rest of this program, whose length is that of the packet, and then the accesses.
    call read
    movw $AT_ONCE, blocks
    movw $0, offset
    movw $RECORDS / 16, segment
    movl $OWN, sector
1:  call read
    addw $AT_ONCE * SECTOR / 16, segment
    addl $AT_ONCE, sector
    decw chunks
    jnz 1b
    cli
    lgdt descriptors
    movl %cr0, %eax
    orb $1, %al
    movl %eax, %cr0
    ljmp $8, $flat
read:
    movw $0x4200, %ax
    movb drive, %dl
    movw $packet, %si
    int $0x13
    jc failed
    ret
failed:
    # Nobody is told, and the test says what was heard before.
    hlt
    jmp failed
packet:
    .byte 16, 0
blocks:
    .word OWN - 1
offset:
    .word start + SECTOR
segment:
    .word 0
sector:
    .quad 1
drive:
    .byte 0
.align 4
descriptors:
    .word 31
    .long table
table:
    # None, code and data: all of the address space. And code from AWAY on.
    .quad 0
    .quad 0x00cf9a000000ffff
    .quad 0x00cf92000000ffff
    .quad 0x00cf9a600000ffff
.org 508
chunks:
    # Of accesses, 64 sectors each: set by who makes the disk.
    .word 0
    .word 0xaa55

.code32
flat:
    movw $0x10, %ax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %ss
    # A table of zeros means the first 64 KiB to an IDE controller: that is no place to stay.
    movl $start, %esi
    leal AWAY(%esi), %edi
    movl $OWN * SECTOR / 4, %ecx
    cld
    rep movsl
    ljmp $24, $away
away:
    movl $RECORDS, %ebp
next:
    cld
    movzbl (%ebp), %ebx
    movzwl 2(%ebp), %edx
    movl 4(%ebp), %edi
    movl 8(%ebp), %esi
    movl 12(%ebp), %ecx
    addl $RECORD, %ebp
    testb $0x80, %bl
    jz 1f
    std
    andb $0x7f, %bl
1:  movl %esi, %eax
    jmp *%cs:operations(, %ebx, 4)

# What is written, at a port.
out1: outb %al, %dx
    jmp next
out2: outw %ax, %dx
    jmp next
out4: outl %eax, %dx
    jmp next
in1: inb %dx, %al
    jmp next
in2: inw %dx, %ax
    jmp next
in4: inl %dx, %eax
    jmp next
# String instructions, from and to an address.
outs1: movl %edi, %esi
    rep outsb
    jmp next
outs2: movl %edi, %esi
    rep outsw
    jmp next
outs4: movl %edi, %esi
    rep outsl
    jmp next
ins1: rep insb
    jmp next
ins2: rep insw
    jmp next
ins4: rep insl
    jmp next
# A value to memory, as often as it says.
stos1: rep stosb
    jmp next
stos2: rep stosw
    jmp next
stos4: rep stosl
    jmp next
load1: movb (%edi), %al
    jmp next
load2: movw (%edi), %ax
    jmp next
load4: movl (%edi), %eax
    jmp next
# From the value's address.
movs1: rep movsb
    jmp next
movs2: rep movsw
    jmp next
movs4: rep movsl
    jmp next
# Until a port's bits of the value's first byte are the second, so often at most.
await_port:
    movl %esi, %ebx
1:  subl $1, %ecx
    jb next
    inb %dx, %al
    andb %bl, %al
    cmpb %bh, %al
    jne 1b
    jmp next
# Until the value's bits at an address are zero, so often at most.
await_memory:
    subl $1, %ecx
    jb next
    testl %esi, (%edi)
    jnz await_memory
    jmp next
# A text on the serial port, as it is when there was no access to it.
print:
    movw $0x3fb, %dx
    movb $3, %al
    outb %al, %dx
    movw $0x3fc, %dx
    outb %al, %dx
    movw $0x3f9, %dx
    xorb %al, %al
    outb %al, %dx
1:  movb (%edi), %bl
    incl %edi
    testb %bl, %bl
    jz next
    movw $0x3fd, %dx
2:  inb %dx, %al
    testb $0x20, %al
    jz 2b
    movb %bl, %al
    movw $0x3f8, %dx
    outb %al, %dx
    jmp 1b
stop:
    jmp stop
.align 4
operations:
    .long stop, stop, stop, stop
    .long out1, out2, out4, stop
    .long in1, in2, in4, stop
    .long outs1, outs2, outs4, stop
    .long ins1, ins2, ins4, stop
    .long stos1, stos2, stos4, stop
    .long load1, load2, load4, stop
    .long movs1, movs2, movs4, stop
    .long await_port, await_memory, print, stop
