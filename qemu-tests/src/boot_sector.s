# What an HVM guest runs whose disk has nothing else: it talks on the first serial port, and obeys letters that come there.
#
#   r  reads the second sector with the BIOS and prints the text there      p  reads a port 10,000 times
#   o  turns the computer off by ACPI's register                            b  restarts it by the chipset's
#   l  reads a port until the next letter comes                             t  triple fault
#
# Any other letter comes back.
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
    sti
    movb %dl, drive
    movw $banner, %si
    call print
command:
    call get
    cmpb $'r', %al
    je read
    cmpb $'p', %al
    je ports
    cmpb $'o', %al
    je off
    cmpb $'b', %al
    je restart
    cmpb $'l', %al
    je listen
    cmpb $'t', %al
    je triple
    call put
    jmp command
read:
    movw $0x4200, %ax
    movb drive, %dl
    movw $packet, %si
    int $0x13
    jc failed
    movw $0x8000, %si
    call print
    jmp done
failed:
    movw $bad, %si
    call print
    jmp command
ports:
    # The scratch register: it does nothing.
    movw $0x3ff, %dx
    movl $10000, %ecx
1:  inb %dx, %al
    decl %ecx
    jnz 1b
done:
    movw $good, %si
    call print
    jmp command
off:
    # PM1a_CNT: SLP_EN, with the SLP_TYP of S5.
    movw $0xb004, %dx
    movw $0x2000, %ax
    outw %ax, %dx
    jmp command
restart:
    movw $0xcf9, %dx
    movb $6, %al
    outb %al, %dx
    jmp command
listen:
    movw $0x3ff, %dx
    inb %dx, %al
    movw $0x3fd, %dx
    inb %dx, %al
    testb $1, %al
    jz listen
    movw $0x3f8, %dx
    inb %dx, %al
    jmp done
triple:
    # No room for any vector: the first exception cannot be told, and neither can that.
    lidt nowhere
    int3
print:
    lodsb
    testb %al, %al
    jz 1f
    call put
    jmp print
1:  ret
put:
    movb %al, %ah
    movw $0x3fd, %dx
1:  inb %dx, %al
    testb $0x20, %al
    jz 1b
    movb %ah, %al
    movw $0x3f8, %dx
    outb %al, %dx
    ret
get:
    # The timer's interrupt ends each pause.
    movw $0x3fd, %dx
    inb %dx, %al
    testb $1, %al
    jnz 1f
    hlt
    jmp get
1:  movw $0x3f8, %dx
    inb %dx, %al
    ret
nowhere:
    .word 0
    .long 0
packet:
    # Of INT 13h's extended read: its size, one sector to 0:8000h, the second of the disk.
    .byte 16, 0
    .word 1
    .word 0x8000, 0
    .quad 1
drive:
    .byte 0
banner:
    .asciz "boot sector: ready\r\n"
bad:
    .asciz "failed\r\n"
good:
    .asciz "done\r\n"
