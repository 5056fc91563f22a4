/* A libmodbus client that uses everything libmodbus can and checks every value it gets back.
 *
 *     cc libmodbus_client.c -o client -lmodbus && ./client PORT
 *
 * One line per check, `ok SENTENCE` or `not ok SENTENCE: what was there`; exit status 1 when any is not ok. libmodbus
 * itself checks header, function, byte counts and echoes of every answer.
 */
#include <errno.h>
#include <modbus/modbus.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int failures = 0;

static void check(int good, const char *sentence) {
    if (good) {
        printf("ok %s\n", sentence);
    } else {
        printf("not ok %s: %s\n", sentence, modbus_strerror(errno));
        failures++;
    }
}

static void refused(int rc, int wanted, const char *sentence) {
    check(rc == -1 && errno == wanted, sentence);
}

int main(int argc, char **argv) {
    uint8_t bits[MODBUS_MAX_READ_BITS], some[MODBUS_MAX_WRITE_BITS];
    uint16_t registers[MODBUS_MAX_READ_REGISTERS], values[MODBUS_MAX_WRITE_REGISTERS];
    modbus_t *ctx;
    int i, same, rc;

    if (argc != 2) {
        fprintf(stderr, "usage: %s PORT\n", argv[0]);
        return 2;
    }
    ctx = modbus_new_tcp("127.0.0.1", atoi(argv[1]));
    modbus_set_response_timeout(ctx, 3, 0);
    modbus_set_slave(ctx, 1);
    check(modbus_connect(ctx) == 0, "connects");

    /* what is there from the start */
    check(modbus_read_input_bits(ctx, 0, 6, bits) == 6 && bits[0] == 0 && bits[1] == 1 && bits[2] == 1
              && bits[3] == 0 && bits[4] == 0 && bits[5] == 1,
          "02 reads discrete inputs");
    check(modbus_read_input_registers(ctx, 0, 3, registers) == 3 && registers[0] == 555 && registers[1] == 0
              && registers[2] == 0xFF06,
          "04 reads input registers");
    check(modbus_read_registers(ctx, 100, 2, registers) == 2 && registers[0] == 0x42F6 && registers[1] == 0xE979,
          "03 reads holding registers");
    check(modbus_get_float_abcd(registers) > 123.455f && modbus_get_float_abcd(registers) < 123.457f,
          "two registers are the float 123.456");

    /* single writes, read back */
    check(modbus_write_bit(ctx, 12, 1) == 1, "05 switches a coil on");
    check(modbus_read_bits(ctx, 11, 3, bits) == 3 && !bits[0] && bits[1] && !bits[2], "01 reads it back as on");
    check(modbus_write_bit(ctx, 12, 0) == 1, "05 switches it off");
    check(modbus_read_bits(ctx, 11, 3, bits) == 3 && !bits[0] && !bits[1] && !bits[2], "01 reads it back as off");
    check(modbus_write_register(ctx, 16, 1500) == 1, "06 writes a register");
    check(modbus_read_registers(ctx, 15, 3, registers) == 3 && registers[0] == 0 && registers[1] == 1500
              && registers[2] == 0,
          "03 reads it back");

    /* the longest writes, read back */
    for (i = 0; i < MODBUS_MAX_WRITE_BITS; i++)
        some[i] = (i * 7 + i / 5) % 3 == 0;
    check(modbus_write_bits(ctx, 21, MODBUS_MAX_WRITE_BITS, some) == MODBUS_MAX_WRITE_BITS, "15 writes 1968 coils");
    rc = modbus_read_bits(ctx, 21, MODBUS_MAX_WRITE_BITS, bits);
    check(rc == MODBUS_MAX_WRITE_BITS && memcmp(bits, some, MODBUS_MAX_WRITE_BITS) == 0, "01 reads them back");
    check(modbus_read_bits(ctx, 0, MODBUS_MAX_READ_BITS, bits) == MODBUS_MAX_READ_BITS, "01 reads 2000 coils");
    for (i = 0; i < MODBUS_MAX_WRITE_REGISTERS; i++)
        values[i] = (uint16_t) (i * 523 + 1);
    check(modbus_write_registers(ctx, 200, MODBUS_MAX_WRITE_REGISTERS, values) == MODBUS_MAX_WRITE_REGISTERS,
          "16 writes 123 registers");
    rc = modbus_read_registers(ctx, 200, MODBUS_MAX_READ_REGISTERS, registers);
    check(rc == MODBUS_MAX_READ_REGISTERS && memcmp(registers, values, sizeof values) == 0 && registers[123] == 0,
          "03 reads 125 registers with them");

    /* mask write, and write before read */
    check(modbus_write_register(ctx, 30, 0x1234) == 1 && modbus_mask_write_register(ctx, 30, 0xFFF0, 0x0005) == 1,
          "22 writes under a mask");
    check(modbus_read_registers(ctx, 30, 1, registers) == 1 && registers[0] == 0x1235, "03 reads 1235 back");
    rc = modbus_write_and_read_registers(ctx, 801, 121, values, 800, 123, registers);
    same = memcmp(registers + 1, values, 121 * sizeof values[0]) == 0;
    check(rc == 123 && registers[0] == 0 && same && registers[122] == 0, "23 writes first and reads then");

    /* who is it */
    memset(bits, 0, sizeof bits);
    rc = modbus_report_slave_id(ctx, 253, bits);
    check(rc > 2 && bits[1] == 0xFF, "17 tells that the server runs");
    check(memcmp(bits + 2, "GW-1", 4) == 0, "17 tells the product");
    some[0] = 1;
    some[1] = 7;
    rc = modbus_send_raw_request(ctx, some, 2) == 8 ? modbus_receive_confirmation(ctx, bits) : -1;
    check(rc == 9 && bits[7] == 7 && (bits[8] & 0x80) == 0, "07 tells the exception status");

    /* refusals */
    refused(modbus_read_registers(ctx, 3000, 1, registers), EMBXILADD, "03 behind the end is an illegal address");
    refused(modbus_read_input_registers(ctx, 999, 2, registers), EMBXILADD, "04 over the end is an illegal address");
    refused(modbus_read_bits(ctx, 60000, 1, bits), EMBXILADD, "01 behind the end is an illegal address");
    refused(modbus_read_input_bits(ctx, 60000, 1, bits), EMBXILADD, "02 behind the end is an illegal address");
    refused(modbus_write_register(ctx, 500, 1), EMBXILADD, "06 to a read-only register is an illegal address");
    refused(modbus_write_registers(ctx, 499, 2, values), EMBXILADD, "16 into a read-only range is an illegal address");
    refused(modbus_write_bit(ctx, 60000, 1), EMBXILADD, "05 behind the end is an illegal address");
    refused(modbus_mask_write_register(ctx, 500, 0, 0), EMBXILADD, "22 to a read-only register is an illegal address");
    modbus_set_slave(ctx, 77);
    refused(modbus_read_registers(ctx, 0, 1, registers), EMBXGPATH, "an unknown unit has no gateway path");
    modbus_set_slave(ctx, 0xFF);
    check(modbus_read_registers(ctx, 30, 1, registers) == 1 && registers[0] == 0x1235, "unit 255 is the default unit");

    modbus_close(ctx);
    modbus_free(ctx);
    return failures ? 1 : 0;
}
